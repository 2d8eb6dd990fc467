// What each path of attend() must give, for tests of single arguments of it. A case has at least batch, heads, length
// and width. `by(form, path)` is the operation on the tensors that `inputs(form, dtype, batch)` draws.
#pragma once

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <vector>

#include "linformer/kernels/isa.hpp"
#include "linformer/ops/attention.hpp"
#include "support/closeness.hpp"

namespace linformer::test {

template <class Visit>
void for_each_isa(const Visit& visit) {
  for (const auto isa : kernels::all_isas) {
    if (!kernels::isa_supported(isa)) continue;
    const kernels::ForcedIsa forced(isa);
    SCOPED_TRACE(kernels::isa_name(isa));
    visit();
  }
}

template <class Form, class By, class Inputs>
void expect_kernels_same(const std::vector<Form>& forms, const By& by, const Inputs& inputs) {
  const int threads_before = at::get_num_threads();
  for_each_isa([&] {
    for (const int threads : {1, 2}) {
      at::set_num_threads(threads);
      for (const auto& form : forms) {
        SCOPED_TRACE(testing::Message() << form << " threads " << threads);
        expect_same(by(form, ops::Path::kernel), by(form, ops::Path::reference), inputs(form, at::kFloat, form.batch),
                    tolerance_of(at::kFloat));
      }
    }
  });
  at::set_num_threads(threads_before);
}

template <class Form, class By, class Inputs>
void expect_kernels_as_close_as_composed(const std::vector<Form>& forms, const By& by, const Inputs& inputs) {
  for_each_isa([&] {
    for (const auto& form : forms) {
      SCOPED_TRACE(testing::Message() << form);
      auto batch = form.batch;  // of enough numbers that the ratio of two errors is not luck
      while (batch * form.heads * form.length * form.width < (1 << 15)) batch *= 2;
      expect_as_close_as(by(form, ops::Path::composed), by(form, ops::Path::kernel), by(form, ops::Path::reference),
                         inputs(form, at::kBFloat16, batch));
    }
  });
}

template <class Form, class By, class Inputs>
void expect_composed_same(const std::vector<Form>& forms, const By& by, const Inputs& inputs) {
  for (const auto& form : forms) {
    SCOPED_TRACE(testing::Message() << form);
    expect_same(by(form, ops::Path::composed), by(form, ops::Path::reference), inputs(form, at::kDouble, form.batch),
                tolerance_of(at::kDouble));
  }
}

}  // namespace linformer::test
