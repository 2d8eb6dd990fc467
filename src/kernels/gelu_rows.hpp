// Rows [first, last) of kernels/gelu.hpp.
#pragma once

#include "kernels/activation.hpp"
#include "kernels/element.hpp"
#include "kernels/gelu.hpp"

namespace linformer::kernels {
namespace {

template <class Element>
void gelu_row(const GeluRows& in, Index row) {
  const Element* x = static_cast<const Element*>(in.x) + row * in.width;
  Element* out = static_cast<Element*>(in.out) + row * in.width;
  for (Index j = 0; j < in.width; j += vector_width) {
    const Index count = smaller(vector_width, in.width - j);
    const Vector u = load_row(x + j, count) + load_row(in.bias + j, count);
    store_row(out + j, gelu_of(u), count);
  }
}

template <class Element>
void gelu_backward_row(const GeluGradients& in, Index row, float* sums) {
  constexpr float inverse_root = 0.398942280F;  // 1/√(2π)
  const Element* x = static_cast<const Element*>(in.x) + row * in.width;
  const Element* grad_out = static_cast<const Element*>(in.grad_out) + row * in.width;
  Element* grad_x = static_cast<Element*>(in.grad_x) + row * in.width;
  for (Index j = 0; j < in.width; j += vector_width) {
    const Index count = smaller(vector_width, in.width - j);
    const Vector u = load_row(x + j, count) + load_row(in.bias + j, count);
    const auto normal = normal_of(u);
    const Vector grad = load_row(grad_out + j, count) * (normal.integral + u * normal.bell * inverse_root);
    store_row(grad_x + j, grad, count);
    add_to_row(sums + j, grad, count);
  }
}

void gelu_rows(const GeluRows& in, Index first, Index last) {
  for (Index row = first; row < last; ++row) {
    in.element == Element::float32 ? gelu_row<float>(in, row) : gelu_row<std::uint16_t>(in, row);
  }
}

void gelu_backward_rows(const GeluGradients& in, Index first, Index last, float* sums) {
  for (Index row = first; row < last; ++row) {
    in.element == Element::float32 ? gelu_backward_row<float>(in, row, sums)
                                   : gelu_backward_row<std::uint16_t>(in, row, sums);
  }
}

}  // namespace
}  // namespace linformer::kernels
