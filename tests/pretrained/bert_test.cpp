// What can be said of a BERT encoder's attention without a second one. tests/python/test_inspect.py compares with a
// forward pass written in PyTorch. Shape letters: B batch, N length, H heads, d width.
#include "linformer/pretrained/bert.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "core/support.hpp"
#include "linformer/core/json.hpp"
#include "linformer/nn/model_file.hpp"

namespace linformer::test {
namespace {

class Bert : public testing::Test {
 protected:
  Bert() {
    for (const auto* name : {"word", "position", "token_type"}) {
      const auto rows = name == std::string("word") ? 11 : name == std::string("position") ? 7 : 2;
      put(std::string("embeddings.") + name + "_embeddings.weight", at::randn({rows, 4}));
    }
    norm("embeddings.LayerNorm");
    const std::string block = "encoder.layer.0.";
    for (const auto* part : {"self.query", "self.key", "self.value", "output.dense"})
      linear(block + "attention." + part, 4, 4);
    norm(block + "attention.output.LayerNorm");
    linear(block + "intermediate.dense", 5, 4);
    linear(block + "output.dense", 4, 5);
    norm(block + "output.LayerNorm");
  }
  void put(const std::string& name, const at::Tensor& value) {
    for (auto& [known, tensor] : tensors_) {
      if (known == name) {
        tensor = value;
        return;
      }
    }
    tensors_.emplace_back(name, value);
  }
  void linear(const std::string& name, std::int64_t out, std::int64_t in) {
    put(name + ".weight", at::randn({out, in}));
    put(name + ".bias", at::randn({out}));
  }
  void norm(const std::string& name) {
    put(name + ".weight", at::ones({4}));
    put(name + ".bias", at::zeros({4}));
  }
  BertEncoder encoder(const json& changes = json::object()) const {
    json config = {{"model_type", "bert"},         {"hidden_act", "gelu"}, {"num_hidden_layers", 1},
                   {"num_attention_heads", 2},     {"hidden_size", 4},     {"intermediate_size", 5},
                   {"max_position_embeddings", 7}, {"vocab_size", 11},     {"type_vocab_size", 2},
                   {"layer_norm_eps", 1e-12}};
    config.update(changes);
    folder_.write("config.json", config.dump());
    write_safetensors(folder_ / "model.safetensors", {.tensors = tensors_, .metadata = {}});
    return BertEncoder(folder_.path());
  }
  static at::Tensor weights_of(const BertEncoder& encoder, const at::Tensor& ids_BN) {
    at::Tensor found;
    encoder.attention_weights(ids_BN,
                              [&](std::int64_t, const AttentionWeights& weights) { found = weights.positions; });
    return found;
  }
  TemporaryFolder folder_;
  std::vector<std::pair<std::string, at::Tensor>> tensors_;
};

const std::string kQuery = "encoder.layer.0.attention.self.query", kKey = "encoder.layer.0.attention.self.key";

TEST_F(Bert, WeightsAreTheSoftmaxOfScaledProducts) {
  // Every query is (2,0 | 0,1), and keys are the normed embeddings.
  put(kQuery + ".weight", at::zeros({4, 4}));
  put(kQuery + ".bias", at::tensor({2.0, 0.0, 0.0, 1.0}, at::kFloat));
  put(kKey + ".weight", at::eye(4));
  put(kKey + ".bias", at::zeros({4}));
  const auto ids_BN = at::tensor({3, 10, 0, 3, 5, 5}, at::kLong).view({2, 3});
  const auto found = weights_of(encoder(), ids_BN);
  ASSERT_EQ(found.sizes(), (std::vector<std::int64_t>{2, 2, 3, 3}));
  for (std::int64_t row = 0; row < 2; ++row) {
    std::vector<std::vector<double>> keys;
    for (std::int64_t n = 0; n < 3; ++n) {
      const auto x =
          (tensors_[0].second[ids_BN[row][n].item<std::int64_t>()] + tensors_[1].second[n] + tensors_[2].second[0])
              .to(at::kDouble);
      const auto key = (x - x.mean()) / x.var(/*unbiased=*/false).sqrt();
      keys.push_back({key[0].item<double>(), key[3].item<double>()});
    }
    for (std::int64_t head = 0; head < 2; ++head) {
      double sum = 0;
      std::vector<double> powers;
      for (const auto& key : keys) {
        powers.push_back(std::exp((head == 0 ? 2 * key[0] : key[1]) / std::sqrt(2.0)));
        sum += powers.back();
      }
      for (std::int64_t query = 0; query < 3; ++query) {
        for (std::int64_t n = 0; n < 3; ++n)
          EXPECT_NEAR(found[row][head][query][n].item<double>(), powers[static_cast<std::size_t>(n)] / sum, 1e-5);
      }
    }
  }
}

TEST_F(Bert, TellsItsSizesAndWhetherItIsThere) {
  const auto bert = encoder();
  EXPECT_EQ(bert.layers(), 1);
  EXPECT_EQ(bert.heads(), 2);
  EXPECT_EQ(bert.length(), 7);
  EXPECT_EQ(bert.vocabulary(), 11);
  EXPECT_TRUE(BertEncoder::is_here(folder_.path()));
  folder_.write("config.json", R"({"model_type": "gpt2"})");
  EXPECT_FALSE(BertEncoder::is_here(folder_.path()));
  EXPECT_FALSE(BertEncoder::is_here(folder_ / "nowhere"));
}

TEST_F(Bert, SaysWhatIsWrong) {
  const auto says = [&](const json& changes, const at::Tensor& ids) {
    return message_of([&] { weights_of(encoder(changes), ids); });
  };
  const auto ids = at::zeros({1, 3}, at::kLong);
  EXPECT_TRUE(holds(says({{"hidden_act", "relu"}}, ids), {"config.json", "hidden_act is \"relu\""}));
  EXPECT_TRUE(holds(says({{"num_attention_heads", 3}}, ids), {"hidden_size 4 is not a multiple", "3"}));
  EXPECT_TRUE(holds(says({{"vocab_size", 12}}, ids), {"word_embeddings.weight", "11×4", "12×4"}));
  EXPECT_TRUE(holds(says({{"num_hidden_layers", 2}}, ids), {"'encoder.layer.1.", "is missing"}));
  EXPECT_TRUE(
      holds(says(json::object(), at::zeros({1, 8}, at::kLong)), {"8 tokens: longer than max_position_embeddings 7"}));
  EXPECT_TRUE(holds(says(json::object(), at::full({1, 3}, 11, at::kLong)), {"token id 11", "11 ids"}));
}

}  // namespace
}  // namespace linformer::test
