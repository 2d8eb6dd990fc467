// What `auto` takes where the choice changes results: by tables of the processor, never by a timing.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <span>
#include <string>

#include "linformer/config/train_config.hpp"
#include "linformer/kernels/isa.hpp"
#include "linformer/kernels/weight_format.hpp"

namespace linformer {

class LanguageModel;

enum class Vendor { other, amd, intel };

/// All that the tables read of a processor.
struct Processor {
  Vendor vendor = Vendor::other;
  kernels::Isa isa = kernels::Isa::portable;
};
/// `isa` is kernels::current_isa(): a forced instruction set (LINFORMER_ISA) makes the tables take this processor for
/// one that has no wider set.
Processor this_processor();

/// Parameters of a model that outgrows the caches, so that the width of its weights decides the speed of generation.
constexpr std::int64_t kLargeModel = 4'000'000;

/// The tables. docs/architecture.md prints them, with the measurements behind each row.
DType automatic_dtype(const Processor& processor);
ProductLibrary automatic_products(const Processor& processor, bool onednn_available);
kernels::WeightFormat automatic_weights(const Processor& processor, std::int64_t parameters);

template <class T>
struct Choice {
  T value;
  std::string reason;  ///< for messages, such as "this AMD processor has avx2"; empty where nothing was `auto`
};
/// Of matrix products in training, and of prompts that `generate` reads for weights that are short.
Choice<at::ScalarType> choose_dtype(DType asked, at::Device device = at::kCPU);
/// UserError: `onednn` where LibTorch can't reach it. `auto` takes `libtorch` there.
Choice<ProductLibrary> choose_products(ProductLibrary asked);
/// What `generate --dtype auto` takes.
Choice<kernels::WeightFormat> choose_weights(const LanguageModel& model);

/// A choice that `auto` made, as the user hears of it.
struct Announcement {
  std::string what, value, reason;
  std::string flag;  ///< that pins it
};
/// "dtype float32, products onednn (auto: REASON); pin them with --dtype float32 --products onednn"; choices that
/// follow each other and have one reason share it.
std::string announcement_of(std::span<const Announcement> choices);

}  // namespace linformer
