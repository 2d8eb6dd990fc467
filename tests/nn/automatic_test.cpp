// What `auto` takes: the tables, which docs/architecture.md prints, and that nothing but them decides.
#include "linformer/nn/automatic.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstdlib>

#include "nn/forms.hpp"
#include "nn/linear_product.hpp"

namespace linformer {
namespace {

using kernels::Isa;
using linformer::test::softmax_form;

struct Row {
  Processor processor;
  DType dtype;
  ProductLibrary products;
  kernels::WeightFormat large_weights;
};

constexpr auto kFloat32 = DType::float32, kBfloat16 = DType::bfloat16;
constexpr auto kLibtorch = ProductLibrary::libtorch, kOnednn = ProductLibrary::onednn;
constexpr auto kWide = kernels::WeightFormat::float32, kNarrow = kernels::WeightFormat::bfloat16;

constexpr std::array kTable{
    Row{{Vendor::amd, Isa::portable}, kFloat32, kLibtorch, kWide},
    Row{{Vendor::amd, Isa::avx2}, kFloat32, kLibtorch, kNarrow},
    Row{{Vendor::amd, Isa::avx512}, kFloat32, kOnednn, kNarrow},
    Row{{Vendor::amd, Isa::avx512_bf16}, kBfloat16, kOnednn, kNarrow},
    Row{{Vendor::intel, Isa::portable}, kFloat32, kLibtorch, kWide},
    Row{{Vendor::intel, Isa::avx2}, kFloat32, kLibtorch, kNarrow},
    Row{{Vendor::intel, Isa::avx512}, kFloat32, kLibtorch, kNarrow},
    Row{{Vendor::intel, Isa::avx512_bf16}, kBfloat16, kLibtorch, kNarrow},
    Row{{Vendor::other, Isa::portable}, kFloat32, kLibtorch, kWide},
    Row{{Vendor::other, Isa::avx2}, kFloat32, kLibtorch, kNarrow},
};

TEST(Automatic, FollowsTheTables) {
  for (const auto& row : kTable) {
    SCOPED_TRACE(::testing::Message() << "vendor " << static_cast<int>(row.processor.vendor) << ", "
                                      << kernels::isa_name(row.processor.isa));
    EXPECT_EQ(automatic_dtype(row.processor), row.dtype);
    EXPECT_EQ(automatic_products(row.processor, true), row.products);
    EXPECT_EQ(automatic_products(row.processor, false), kLibtorch);
    EXPECT_EQ(automatic_weights(row.processor, kLargeModel), row.large_weights);
    EXPECT_EQ(automatic_weights(row.processor, kLargeModel - 1), kWide);
  }
}

// A forced instruction set takes the processor for one that has no wider one, in every choice.
TEST(Automatic, AForcedInstructionSetCounts) {
  for (const auto isa : kernels::all_isas) {
    if (!kernels::isa_supported(isa)) continue;
    SCOPED_TRACE(kernels::isa_name(isa));
    const kernels::ForcedIsa forced(isa);
    const auto here = this_processor();
    EXPECT_EQ(here.isa, isa);
    const auto dtype = choose_dtype(DType::automatic);
    EXPECT_EQ(dtype.value, automatic_dtype(here) == kBfloat16 ? at::kBFloat16 : at::kFloat);
    // "has no avx2", or "LINFORMER_ISA takes this processor for one with portable" where a person has set it.
    const bool by_user = std::getenv("LINFORMER_ISA") != nullptr;
    EXPECT_NE(dtype.reason.find(isa == Isa::portable && !by_user ? "avx2" : kernels::isa_name(isa)), std::string::npos)
        << dtype.reason;
    EXPECT_EQ(choose_products(ProductLibrary::automatic).value, automatic_products(here, nn::onednn_available()));
  }
}

TEST(Automatic, WhatIsAskedForIsTakenWithoutAReason) {
  EXPECT_EQ(choose_dtype(DType::float32).value, at::kFloat);
  EXPECT_EQ(choose_dtype(DType::bfloat16).value, at::kBFloat16);
  EXPECT_EQ(choose_dtype(DType::float32).reason, "");
  EXPECT_EQ(choose_products(ProductLibrary::libtorch).value, kLibtorch);
  EXPECT_EQ(choose_products(ProductLibrary::libtorch).reason, "");
}

TEST(Automatic, WeightsOfSmallModelsStayWide) {
  const auto small = choose_weights(LanguageModel(softmax_form().config, 1));
  EXPECT_EQ(small.value, kWide);
  EXPECT_NE(small.reason.find("4000000 parameters"), std::string::npos) << small.reason;
  auto config = softmax_form().config;
  config.causal = false;
  config.attention.window = 0;
  EXPECT_EQ(choose_weights(LanguageModel(config, 1)).reason, "the model is bidirectional");
}

TEST(Automatic, IsAnnouncedWithTheFlagThatPinsIt) {
  const std::array both{Announcement{"dtype", "float32", "this AMD processor has avx2", "--dtype"},
                        Announcement{"products", "onednn", "so", "--products"}};
  EXPECT_EQ(announcement_of(both),
            "dtype float32 (auto: this AMD processor has avx2), products onednn (auto: so); pin them with --dtype "
            "float32 --products onednn");
  const std::array alike{both[0], Announcement{"products", "libtorch", both[0].reason, "--products"}};
  EXPECT_EQ(announcement_of(alike),
            "dtype float32, products libtorch (auto: this AMD processor has avx2); pin them with --dtype float32 "
            "--products libtorch");
  EXPECT_EQ(announcement_of(std::span(both).first(1)),
            "dtype float32 (auto: this AMD processor has avx2); pin it with --dtype float32");
}

}  // namespace
}  // namespace linformer
