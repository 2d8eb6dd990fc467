// Layer norm and its sum against the engine's own, in float64. Shape letters: R rows, d width.
#include "linformer/ops/layer_norm.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "linformer/core/error.hpp"
#include "linformer/kernels/isa.hpp"
#include "support/closeness.hpp"

namespace linformer::ops {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Inputs: x, product, bias of the branch, weight and bias of the norm.
test::Tensors draw(at::IntArrayRef shape, at::ScalarType dtype = at::kFloat) {
  const auto d = shape.back();
  return {at::randn(shape, dtype), at::randn(shape, dtype), at::randn({d}, dtype), at::randn({d}, dtype),
          at::randn({d}, dtype)};
}

at::Tensor both(const SumAndNorm& made) { return at::cat({made.sum, made.normed.to(made.sum.scalar_type())}, -1); }

test::Operation fused(at::ScalarType product) {
  return
      [product](const test::Tensors& x) { return both(add_layer_norm(x[0], {x[1].to(product), x[2]}, {x[3], x[4]})); };
}

// The same from the engine's operations.
test::Operation composed(at::ScalarType product) {
  return [product](const test::Tensors& x) {
    const auto sum = x[0] + x[1].to(product) + x[2];
    return both({sum, at::layer_norm(sum, x[3].sizes(), x[3], x[4], 1e-5).to(product)});
  };
}

// What the fused operation must equal, whose product was rounded to its dtype first.
test::Operation plain(at::ScalarType product) {
  return [product](const test::Tensors& x) {
    const auto rounded = x[1] + (x[1].to(product).to(x[1].scalar_type()) - x[1]).detach();
    const auto sum = x[0] + rounded + x[2];
    return at::cat({sum, at::layer_norm(sum, x[3].sizes(), x[3], x[4], 1e-5)}, -1);
  };
}

TEST(LayerNorm, EveryInstructionSetEqualsThePlainOnes) {
  for (const auto isa : kernels::all_isas) {
    if (!kernels::isa_supported(isa)) continue;
    const kernels::ForcedIsa forced(isa);
    for (const auto& shape :
         std::vector<std::vector<std::int64_t>>{{1, 19}, {5, 7}, {2, 3, 16}, {131, 33}, {300, 384}}) {
      SCOPED_TRACE(testing::Message() << kernels::isa_name(isa) << " " << shape);
      test::expect_same(fused(at::kFloat), plain(at::kFloat), draw(shape), test::tolerance_of(at::kFloat));
      test::expect_as_close_as(composed(at::kBFloat16), fused(at::kBFloat16), plain(at::kBFloat16), draw(shape));
    }
  }
}

// The residual stream keeps float32's digits though what is added is short.
TEST(LayerNorm, SumOfAShortProductIsNotRounded) {
  const auto inputs = draw({13, 40});
  const auto product = inputs[1].to(at::kBFloat16);
  const auto made = add_layer_norm(inputs[0], {product, inputs[2]}, {inputs[3], inputs[4]});
  EXPECT_EQ(made.sum.scalar_type(), at::kFloat);
  EXPECT_EQ(made.normed.scalar_type(), at::kBFloat16);
  EXPECT_LT(test::relative_error(made.sum, inputs[0] + product.to(at::kFloat) + inputs[2]), 1e-6);
}

TEST(LayerNorm, ShortStreams) {
  auto inputs = draw({13, 40});
  inputs[0] = inputs[0].to(at::kBFloat16).to(at::kFloat);
  for (const auto product : {at::kFloat, at::kBFloat16}) {
    const auto made = [product](const test::Tensors& x) {
      return add_layer_norm(x[0].to(at::kBFloat16), {x[1].to(product), x[2]}, {x[3], x[4]});
    };
    EXPECT_EQ(made(inputs).sum.scalar_type(), at::kBFloat16);
    EXPECT_EQ(made(inputs).normed.scalar_type(), product);
    const auto kernel = [made](const test::Tensors& x) {
      const auto found = made(x);
      return at::cat({found.sum.to(at::kFloat), found.normed.to(at::kFloat)}, -1);
    };
    const auto engine = [product](const test::Tensors& x) {
      const auto sum = (x[0] + x[1].to(product) + x[2]).to(at::kBFloat16);
      const auto normed = at::layer_norm(sum, x[3].sizes(), x[3], x[4], 1e-5).to(product);
      return at::cat({sum.to(at::kFloat), normed.to(at::kFloat)}, -1);
    };
    test::expect_as_close_as(engine, kernel, plain(product), inputs);
  }
}

TEST(LayerNorm, NoRows) {
  auto inputs = draw({0, 8});
  for (auto& input : inputs) input.requires_grad_();
  const auto made = both(add_layer_norm(inputs[0], {inputs[1], inputs[2]}, {inputs[3], inputs[4]}));
  EXPECT_EQ(made.numel(), 0);
  made.sum().backward();
  EXPECT_EQ(inputs[3].grad().abs().max().item<float>(), 0.0F);
}

/// Gradients of both results, or of one, as a function that is derived again: of the kernel, and in float64.
void expect_second_derivatives(const test::Operation& operation, const test::Tensors& inputs) {
  const auto gradients = [&](const test::Tensors& x) { return test::gradients_of(operation, x); };
  test::expect_same(gradients, gradients, inputs, {.output = 5e-6, .gradient = 2e-5});
}

TEST(LayerNorm, HasSecondDerivatives) {
  for (const bool rms : {false, true}) {
    SCOPED_TRACE(rms);
    expect_second_derivatives(
        [=](const test::Tensors& x) { return both(add_layer_norm(x[0], {x[1], x[2]}, {x[3], x[4], rms})); },
        draw({3, 8}));
    expect_second_derivatives(
        [=](const test::Tensors& x) { return add_layer_norm(x[0], {x[1], {}}, {x[3], {}, rms}).normed + x[2] + x[4]; },
        draw({3, 8}));
    expect_second_derivatives(
        [=](const test::Tensors& x) {
          const auto turned = x[0].t();  // not contiguous: a copy of it is not on the graph
          return layer_norm(turned, {x[1], x[2], rms}, turned.scalar_type());
        },
        {at::randn({8, 3}), at::randn({8}), at::randn({8})});
    expect_second_derivatives([](const test::Tensors& x) { return add_branch(x[0], {x[1], x[2]}).exp() + x[3] * x[4]; },
                              draw({3, 8}));
  }
}

TEST(LayerNorm, PartsAloneEqualThePlainOnes) {
  const auto inputs = draw({37, 20});
  const auto norm = [](const test::Tensors& x) { return layer_norm(x[0], {x[3], x[4]}, x[0].scalar_type()); };
  const auto plain_norm = [](const test::Tensors& x) { return at::layer_norm(x[0], x[3].sizes(), x[3], x[4], 1e-5); };
  test::expect_same(norm, plain_norm, inputs, test::tolerance_of(at::kFloat));
  const auto sum = [](const test::Tensors& x) { return add_branch(x[0], {x[1], x[2]}); };
  const auto plain_sum = [](const test::Tensors& x) { return x[0] + x[1] + x[2]; };
  test::expect_same(sum, plain_sum, inputs, test::tolerance_of(at::kFloat));
  const auto no_bias = [](const test::Tensors& x) { return add_branch(x[0], {x[1], {}}); };
  test::expect_same(
      no_bias, [](const test::Tensors& x) { return x[0] + x[1]; }, inputs, test::tolerance_of(at::kFloat));
}

at::Tensor plain_rms(const at::Tensor& x, const at::Tensor& weight) {
  return x * (x.square().mean(-1, true) + 1e-5).rsqrt() * weight;
}

TEST(LayerNorm, OfTheRootMeanSquareAndWithoutBiasEqualThePlainOnes) {
  for (const auto isa : kernels::all_isas) {
    if (!kernels::isa_supported(isa)) continue;
    const kernels::ForcedIsa forced(isa);
    for (const auto& shape : std::vector<std::vector<std::int64_t>>{{1, 19}, {5, 7}, {131, 33}}) {
      for (const auto dtype : {at::kFloat, at::kDouble}) {
        SCOPED_TRACE(testing::Message() << kernels::isa_name(isa) << " " << shape << " " << dtype);
        auto inputs = draw(shape, dtype);
        inputs[0] = inputs[0] + 0.7;  // so that a mean that is taken off shows
        inputs.pop_back();
        const auto rms = [](const test::Tensors& x) {
          return both(add_layer_norm(x[0], {x[1], x[2]}, {.weight = x[3], .bias = {}, .rms = true}));
        };
        const auto want_rms = [](const test::Tensors& x) {
          const auto sum = x[0] + x[1] + x[2];
          return at::cat({sum, plain_rms(sum, x[3])}, -1);
        };
        test::expect_same(rms, want_rms, inputs, test::tolerance_of(dtype));
        const auto unbiased = [](const test::Tensors& x) {
          return both(add_layer_norm(x[0], {x[1], x[2]}, {.weight = x[3], .bias = {}}));
        };
        const auto want_unbiased = [](const test::Tensors& x) {
          const auto sum = x[0] + x[1] + x[2];
          return at::cat({sum, at::layer_norm(sum, x[3].sizes(), x[3], {}, 1e-5)}, -1);
        };
        test::expect_same(unbiased, want_unbiased, inputs, test::tolerance_of(dtype));
      }
    }
  }
}

TEST(LayerNorm, OfShortFloatsIsInShortFloats) {
  const auto norm = [](const test::Tensors& x) {
    return layer_norm(x[0].to(at::kBFloat16), {x[1], x[2]}, at::kBFloat16).to(at::kFloat);
  };
  const auto plain_norm = [](const test::Tensors& x) { return at::layer_norm(x[0], x[1].sizes(), x[1], x[2], 1e-5); };
  const auto composed_norm = [](const test::Tensors& x) {
    return at::layer_norm(x[0].to(at::kBFloat16), x[1].sizes(), x[1], x[2], 1e-5).to(at::kFloat);
  };
  for (const std::int64_t d : {19, 64}) {
    const auto x = at::randn({21, d}).to(at::kBFloat16).to(at::kFloat);
    test::expect_as_close_as(composed_norm, norm, plain_norm, {x, at::randn({d}), at::randn({d})});
  }
}

TEST(LayerNorm, OnlyOneOfTheOutputsMayBeUsed) {
  const auto inputs = draw({9, 5});
  const auto only_sum = [](const test::Tensors& x) { return add_layer_norm(x[0], {x[1], x[2]}, {x[3], x[4]}).sum; };
  test::expect_same(
      only_sum, [](const test::Tensors& x) { return x[0] + x[1] + x[2]; }, inputs, test::tolerance_of(at::kFloat));
  const auto only_norm = [](const test::Tensors& x) { return add_layer_norm(x[0], {x[1], x[2]}, {x[3], x[4]}).normed; };
  const auto plain_norm = [](const test::Tensors& x) {
    return at::layer_norm(x[0] + x[1] + x[2], x[3].sizes(), x[3], x[4], 1e-5);
  };
  test::expect_same(only_norm, plain_norm, inputs, test::tolerance_of(at::kFloat));
}

TEST(LayerNorm, GradientsAreThoseOfDifferences) {
  EXPECT_LT(test::gradient_check(fused(at::kDouble), draw({3, 5}, at::kDouble)), 1e-6);
}

TEST(LayerNorm, LargeNumbersAndViews) {
  auto inputs = draw({11, 24});
  // A mean far from the deviation, in numbers that float32 holds: the mean of squares less the squared mean would lose
  // all digits.
  inputs[0] = at::randint(-4, 5, {11, 24}).to(at::kFloat) + 4000;
  inputs[1] = inputs[1].mul(0).add(1);
  inputs[2] = inputs[2].mul(0);
  test::expect_same(fused(at::kFloat), plain(at::kFloat), inputs, {1e-5, 1e-4});
  const auto views = [](const test::Tensors& in) {
    return both(add_layer_norm(in[0].t(), {in[1].narrow(1, 3, 24), in[2]}, {in[3], in[4]}));
  };
  const auto plain_views = [](const test::Tensors& in) {
    return plain(at::kDouble)({in[0].t(), in[1].narrow(1, 3, 24), in[2], in[3], in[4]});
  };
  auto own = draw({11, 24});
  own[0] = at::randn({24, 11});
  own[1] = at::randn({11, 48});
  test::expect_same(views, plain_views, own, test::tolerance_of(at::kFloat));
}

TEST(LayerNorm, ResultsDoNotDependOnThreads) {
  const int before = at::get_num_threads();
  const auto inputs = draw({1000, 48});
  const auto grad_output = at::randn({1000, 96});
  std::vector<test::OutputAndGradients> made;
  for (const int threads : {1, 2}) {
    at::set_num_threads(threads);
    made.push_back(test::run_with_gradients(fused(at::kFloat), inputs, grad_output, at::kFloat));
  }
  at::set_num_threads(before);
  EXPECT_TRUE(at::equal(made[0].output, made[1].output));
  for (std::size_t i = 0; i < inputs.size(); ++i)
    EXPECT_TRUE(at::equal(made[0].gradients[i], made[1].gradients[i])) << i;
}

TEST(LayerNorm, NotANumberStaysInItsRow) {
  auto inputs = draw({4, 20});
  inputs[0][2][3] = std::numeric_limits<double>::quiet_NaN();
  inputs[1][3][0] = kInfinity;
  const auto normed =
      add_layer_norm(inputs[0], {inputs[1].to(at::kBFloat16), inputs[2]}, {inputs[3], inputs[4]}).normed;
  EXPECT_TRUE(normed.narrow(0, 0, 2).isfinite().all().item<bool>());
  EXPECT_TRUE(normed.narrow(0, 2, 2).isnan().all().item<bool>());
}

TEST(LayerNorm, RefusesShapesThatDoNotFit) {
  const auto x = draw({4, 6});
  EXPECT_THROW(add_layer_norm(x[0], {x[1].narrow(0, 0, 3), x[2]}, {x[3], x[4]}), UserError);
  EXPECT_THROW(add_layer_norm(x[0], {x[1], x[2].narrow(0, 0, 5)}, {x[3], x[4]}), UserError);
  EXPECT_THROW(layer_norm(x[0], {x[3].narrow(0, 0, 5), x[4]}, at::kFloat), UserError);
  EXPECT_THROW(layer_norm(x[0], {{}, x[4]}, at::kFloat), UserError);
  EXPECT_THROW(add_branch(x[0], {{}, x[2]}), UserError);
}

}  // namespace
}  // namespace linformer::ops
