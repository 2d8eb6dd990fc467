// Devices, number formats and mixed precision.
#include "linformer/nn/device.hpp"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/autocast_mode.h>
#include <gtest/gtest.h>

#include "nn/forms.hpp"

namespace linformer {
namespace {

using linformer::test::message_of;

TEST(Device, ParsesItsNames) {
  EXPECT_EQ(parse_device("cpu"), at::Device(at::kCPU));
  for (const auto* name :
       {"", "CPU", "cpu:0", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:1x", "cuda:1234567890", "mps"}) {
    EXPECT_NE(message_of([&] { parse_device(name); }).find("expected cpu, cuda or cuda:NUMBER"), std::string::npos)
        << name;
  }
}

TEST(Device, CudaIsThereOrAnErrorSaysWhatToDo) {
  const auto message = message_of([] { parse_device("cuda:99"); });
  EXPECT_NE(message.find("device 'cuda:99'"), std::string::npos) << message;
  if (!at::globalContext().hasCUDA()) {
    EXPECT_NE(message.find("--device cpu"), std::string::npos) << message;
    EXPECT_NE(message_of([] { parse_device("cuda"); }).find("--device cpu"), std::string::npos);
  }
}

TEST(DType, HasANameAndARate) {
  const auto rates = measure_products();
  EXPECT_GT(rates.float32, 1e6);
  EXPECT_GT(rates.bfloat16, 1e4);
  EXPECT_EQ(dtype_name(at::kFloat), "float32");
  EXPECT_EQ(dtype_name(at::kBFloat16), "bfloat16");
  EXPECT_EQ(dtype_name(at::kDouble), "float64");
  EXPECT_EQ(dtype_name(at::kHalf), "float16");
}

TEST(Autocast, LastsAsLongAsItsGuard) {
  const auto a = at::ones({3, 5}), b = at::ones({5, 2});
  {
    const AutocastGuard outer(at::kBFloat16);
    EXPECT_EQ(at::matmul(a, b).scalar_type(), at::kBFloat16);
    {
      const AutocastGuard nothing(at::kFloat), inner(at::kBFloat16);
      EXPECT_EQ(at::matmul(a, b).scalar_type(), at::kBFloat16);
    }
    EXPECT_TRUE(at::autocast::is_autocast_enabled(at::kCPU));
  }
  EXPECT_FALSE(at::autocast::is_autocast_enabled(at::kCPU));
  EXPECT_EQ(at::matmul(a, b).scalar_type(), at::kFloat);
  const AutocastGuard nothing(at::kFloat);
  EXPECT_EQ(at::matmul(a, b).scalar_type(), at::kFloat);
}

// The optimiser changes weights between guards: a converted copy of the old ones must not come back.
TEST(Autocast, ForgetsConvertedWeights) {
  auto weight = at::ones({2, 2}).requires_grad_();
  const auto product = [&] {
    const AutocastGuard autocast(at::kBFloat16);
    return at::matmul(at::ones({1, 2}), weight).sum().item<float>();
  };
  EXPECT_EQ(product(), 4.0F);
  weight.data().fill_(3);
  EXPECT_EQ(product(), 12.0F);
}

}  // namespace
}  // namespace linformer
