#include "nn/linear_product.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "linformer/nn/automatic.hpp"
#include "linformer/nn/device.hpp"
#include "support/closeness.hpp"
#include "support/errors.hpp"

namespace linformer::nn {
namespace {

TEST(LinearProduct, EachLibraryEqualsFloat64) {
  const at::NoGradGuard no_grad;
  for (const auto library : {ProductLibrary::automatic, ProductLibrary::libtorch, ProductLibrary::onednn}) {
    if (library == ProductLibrary::onednn && !onednn_available())
      GTEST_SKIP() << "this LibTorch can't reach oneDNN with float32";
    const ProductGuard guard(library);
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
  const ProductGuard guard(ProductLibrary::libtorch);
  EXPECT_TRUE(at::equal(linear_product(x, weight), with_gradients));
}

// Both paths of `auto`, on whatever processor the tests run; a product of 257 rows differs between the libraries.
TEST(LinearProduct, AutomaticGivesTheBitsOfTheLibraryInTheTable) {
  const at::NoGradGuard no_grad;
  const auto x = at::randn({257, 384}), weight = at::randn({384, 384});
  const auto by = [&](ProductLibrary library) {
    const ProductGuard guard(library);
    return linear_product(x, weight);
  };
  const auto automatic = linear_product(x, weight);
  EXPECT_TRUE(at::equal(automatic, by(ProductLibrary::automatic)));
  EXPECT_TRUE(at::equal(automatic, by(choose_products(ProductLibrary::automatic).value)));
  EXPECT_TRUE(at::equal(automatic, linear_product(x, weight)));  // the guards are gone
  if (!onednn_available()) {
    EXPECT_NE(test::message_of([&] { by(ProductLibrary::onednn); }).find("--products"), std::string::npos);
  }
}

// A pinned library must give what `auto` gave by taking it, so it serves the same products.
TEST(LinearProduct, FewRowsAreLibtorchs) {
  const at::NoGradGuard no_grad;
  if (!onednn_available()) GTEST_SKIP() << "this LibTorch can't reach oneDNN with float32";
  const auto x = at::randn({31, 384}), weight = at::randn({384, 384});
  const ProductGuard guard(ProductLibrary::onednn);
  EXPECT_TRUE(at::equal(linear_product(x, weight), at::linear(x, weight)));
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
