#include "nn/feed_forward.hpp"

#include <ATen/ATen.h>

#include "linformer/core/error.hpp"
#include "linformer/ops/gelu.hpp"

namespace linformer::nn {

namespace {

Linear into_hidden(Parameters& parameters, const std::string& name, const ModelConfig& config) {
  return {parameters, name, {config.width, config.hidden_width(), config.initializer_range, config.bias}};
}
Linear out_of_hidden(Parameters& parameters, const std::string& name, const ModelConfig& config) {
  return {parameters, name, {config.hidden_width(), config.width, residual_deviation(config), config.bias}};
}

class Gelu final : public FeedForward {
 public:
  Gelu(Parameters& parameters, const std::string& name, const ModelConfig& config)
      : up_(into_hidden(parameters, name + ".up", config)), down_(out_of_hidden(parameters, name + ".down", config)) {}
  ops::Branch forward(const at::Tensor& x_BNd) const override {
    return down_.branch(ops::bias_gelu(up_.branch(x_BNd).product, up_.bias));
  }

 private:
  Linear up_, down_;
};

class Swiglu final : public FeedForward {
 public:
  Swiglu(Parameters& parameters, const std::string& name, const ModelConfig& config)
      : gate_(into_hidden(parameters, name + ".gate", config)),
        up_(into_hidden(parameters, name + ".up", config)),
        down_(out_of_hidden(parameters, name + ".down", config)) {}
  ops::Branch forward(const at::Tensor& x_BNd) const override {
    return down_.branch(at::silu(gate_(x_BNd)) * up_(x_BNd));
  }

 private:
  Linear gate_, up_, down_;
};

}  // namespace

std::unique_ptr<FeedForward> make_feed_forward(Parameters& parameters, const std::string& name,
                                               const ModelConfig& config) {
  switch (config.feed_forward_kind) {
    case FeedForwardKind::gelu:
      return std::make_unique<Gelu>(parameters, name, config);
    case FeedForwardKind::swiglu:
      return std::make_unique<Swiglu>(parameters, name, config);
  }
  fail("no feed-forward of this kind");
}

}  // namespace linformer::nn
