#include "linformer/nn/automatic.hpp"

#include <cstdlib>

#include "linformer/config/field.hpp"
#include "linformer/core/error.hpp"
#include "linformer/core/format.hpp"
#include "linformer/nn/decoder.hpp"
#include "nn/linear_product.hpp"

namespace linformer {

namespace {

using kernels::Isa;

Vendor vendor_of_this_processor() {
#if defined(__x86_64__)
  if (__builtin_cpu_is("amd")) return Vendor::amd;
  if (__builtin_cpu_is("intel")) return Vendor::intel;
#endif
  return Vendor::other;
}

std::string reason_of(const Processor& processor) {
  const auto* vendor = processor.vendor == Vendor::amd ? "AMD " : processor.vendor == Vendor::intel ? "Intel " : "";
  const auto isa = kernels::isa_name(processor.isa);
  const char* forced = std::getenv("LINFORMER_ISA");
  if (forced != nullptr && *forced != '\0')
    return formatted("LINFORMER_ISA takes this {}processor for one with {}", vendor, isa);
  if (processor.isa == Isa::portable) return formatted("this {}processor has no avx2", vendor);
  return formatted("this {}processor has {}", vendor, isa);
}

}  // namespace

Processor this_processor() {
  static const auto vendor = vendor_of_this_processor();
  return {.vendor = vendor, .isa = kernels::current_isa()};
}

DType automatic_dtype(const Processor& processor) {
  return processor.isa == Isa::avx512_bf16 ? DType::bfloat16 : DType::float32;
}

ProductLibrary automatic_products(const Processor& processor, bool onednn_available) {
  const bool avx512 = processor.isa == Isa::avx512 || processor.isa == Isa::avx512_bf16;
  return onednn_available && processor.vendor == Vendor::amd && avx512 ? ProductLibrary::onednn
                                                                       : ProductLibrary::libtorch;
}

WeightFormat automatic_weights(const Processor& processor, std::int64_t parameters) {
  return processor.isa != Isa::portable && parameters >= kLargeModel ? WeightFormat::bfloat16 : WeightFormat::float32;
}

Choice<at::ScalarType> choose_dtype(DType asked, at::Device device) {
  const auto scalar = [](DType dtype) { return dtype == DType::bfloat16 ? at::kBFloat16 : at::kFloat; };
  if (asked != DType::automatic) return {.value = scalar(asked), .reason = ""};
  if (!device.is_cpu()) return {.value = at::kBFloat16, .reason = "the device is " + device.str()};
  const auto processor = this_processor();
  return {.value = scalar(automatic_dtype(processor)), .reason = reason_of(processor)};
}

Choice<ProductLibrary> choose_products(ProductLibrary asked) {
  const bool reachable = nn::onednn_available();
  require(asked != ProductLibrary::onednn || reachable,
          "products by onednn: this LibTorch offers no way to multiply float32 matrices with oneDNN; give libtorch "
          "(--products, in training --train.products). Results then differ in their last digits");
  if (asked != ProductLibrary::automatic) return {.value = asked, .reason = ""};
  const auto processor = this_processor();
  return {.value = automatic_products(processor, reachable),
          .reason = reachable ? reason_of(processor) : "this LibTorch offers no float32 products by oneDNN"};
}

Choice<WeightFormat> choose_weights(const LanguageModel& model) {
  if (auto obstacle = Decoder::obstacle(model); !obstacle.empty())
    return {.value = WeightFormat::float32, .reason = std::move(obstacle)};
  const auto parameters = model.parameter_count();
  if (parameters < kLargeModel)
    return {.value = WeightFormat::float32, .reason = formatted("the model has fewer than {} parameters", kLargeModel)};
  const auto processor = this_processor();
  return {.value = automatic_weights(processor, parameters), .reason = reason_of(processor)};
}

std::string announcement_of(std::span<const Announcement> choices) {
  std::string text, flags;
  for (std::size_t i = 0; i < choices.size(); ++i) {
    const auto& choice = choices[i];
    text += formatted("{}{} {}", i > 0 ? ", " : "", choice.what, choice.value);
    // Choices of one reason share it.
    if (i + 1 == choices.size() || choices[i + 1].reason != choice.reason)
      text += formatted(" (auto: {})", choice.reason);
    flags += formatted(" {} {}", choice.flag, choice.value);
  }
  return formatted("{}; pin {} with{}", text, choices.size() == 1 ? "it" : "them", flags);
}

}  // namespace linformer
