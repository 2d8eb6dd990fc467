// AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101) with LibTorch's fused kernel.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "linformer/config/train_config.hpp"
#include "linformer/nn/model_file.hpp"

namespace linformer {

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

/// Holds the moments of a model's parameters. Weight decay is applied to parameters with two or more dimensions, which
/// includes embeddings and projections; it is not applied to vectors such as biases and norms. Slot biases have a
/// learning rate of their own.
class AdamW {
 public:
  /// The parameters are shared, not copied: step() changes the model.
  explicit AdamW(const NamedTensors& parameters);

  /// Frees the gradients. Backward then allocates them late, when most activations are already freed.
  void zero_gradients();
  /// The gradients by the names of their parameters, in an order that depends only on the model. They are not copies.
  /// A parameter without a gradient gets one of zeros.
  NamedTensors gradients() const;
  /// The norm of all gradients together, as if they were one vector.
  double gradient_norm() const;

  struct Step {
    std::int64_t number = 1;  ///< 1 for the first: corrects the bias of the moments
    double learning_rate = 0;
    double gradient_divisor = 1;  ///< gradients are divided by this in the same pass: norm / clip where that is above 1
  };
  void step(const Step& step, const TrainConfig& config);

  /// The moments, on the CPU, with the names "NAME.mean" and "NAME.square".
  NamedTensors moments() const;
  /// UserError for a missing tensor, a wrong shape or a wrong dtype. Nothing is changed in that case.
  void load_moments(const TensorFile& file);
  /// The names of the parameters with weight decay, in order.
  std::vector<std::string> decayed() const;

 private:
  struct Group {
    std::vector<std::string> names;
    std::vector<at::Tensor> owners, parameters, means, squares;  // parameters: the owners without autograd
    std::vector<at::Tensor> gradients() const;
  };
  enum Part { kMatrices, kVectors, kSlotBiases };
  std::array<Group, 3> groups_;
};

}  // namespace linformer
