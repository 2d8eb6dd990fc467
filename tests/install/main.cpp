#include <ATen/ATen.h>
#include <linformer/nn/language_model.hpp>

#include <cstdio>

int main() {
  const linformer::LanguageModel model(
      {.length = 24, .width = 8, .layers = 1, .heads = 2, .vocabulary = 11, .attention = {.slots = 5, .window = 3}});
  const auto logits_BNV = model.logits(at::zeros({2, 13}, at::kLong));
  std::printf("%lld of %lld finite\n", (long long)at::isfinite(logits_BNV).sum().item<int64_t>(),
              (long long)logits_BNV.numel());
}
