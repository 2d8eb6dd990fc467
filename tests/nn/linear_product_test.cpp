#include "nn/linear_product.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "support/closeness.hpp"

namespace linformer::nn {
namespace {

TEST(LinearProduct, EachLibraryEqualsFloat64) {
  const at::NoGradGuard no_grad;
  for (const auto library : {ProductLibrary::measured, ProductLibrary::libtorch, ProductLibrary::onednn}) {
    if (library == ProductLibrary::onednn && !onednn_available())
      GTEST_SKIP() << "this LibTorch can't reach oneDNN with float32";
    const ForcedProduct forced(library);
    for (const std::int64_t rows : {1, 31, 32, 33, 257}) {
      for (const bool biased : {false, true}) {
        SCOPED_TRACE(::testing::Message()
                     << "library " << static_cast<int>(library) << ", " << rows << " rows" << (biased ? ", bias" : ""));
        const auto x = at::randn({2, rows, 37}), weight = at::randn({19, 37}), bias = at::randn({19});
        auto expected = at::matmul(x.to(at::kDouble), weight.to(at::kDouble).t());
        if (biased) expected = expected + bias;
        const auto given = biased ? std::optional(bias) : std::nullopt;
        const auto across = x.transpose(0, 1).contiguous().transpose(0, 1);  // not contiguous
        EXPECT_LT(test::relative_error(linear_product(x, weight, given), expected), 1e-6);
        EXPECT_LT(test::relative_error(linear_product(across, weight, given), expected), 1e-6);
      }
    }
  }
}

TEST(LinearProduct, LibtorchGivesTheBitsOfAProductWithGradients) {
  const auto x = at::randn({257, 37}), weight = at::randn({19, 37}).requires_grad_();
  const auto with_gradients = linear_product(x, weight);
  const at::NoGradGuard no_grad;
  const ForcedProduct forced(ProductLibrary::libtorch);
  EXPECT_TRUE(at::equal(linear_product(x, weight), with_gradients));
}

TEST(LinearProduct, KeepsGraphAndDtypes) {
  const auto x = at::randn({40, 8}).requires_grad_(), weight = at::randn({4, 8}).requires_grad_();
  linear_product(x, weight).sum().backward();
  EXPECT_TRUE(x.grad().defined() && weight.grad().defined());
  const at::NoGradGuard no_grad;
  for (const auto dtype : {at::kDouble, at::kBFloat16}) {
    EXPECT_EQ(linear_product(x.to(dtype), weight.to(dtype)).scalar_type(), dtype);
  }
}

}  // namespace
}  // namespace linformer::nn
