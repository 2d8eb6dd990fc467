// Rows [first, last) of kernels/layer_norm.hpp. A row is read from memory once and then stands in cache.
#pragma once

#include "kernels/layer_norm.hpp"
#include "kernels/norm_row.hpp"

namespace linformer::kernels {
namespace {

template <class Stream, class Element>
void layer_norm_row(const LayerNormRows& in, Index row) {
  const Index width = in.width;
  const Stream* x = static_cast<const Stream*>(in.x) + row * width;
  Vector total{};
  if (in.branch != nullptr) {
    const Element* branch = static_cast<const Element*>(in.branch) + row * width;
    Stream* sum = static_cast<Stream*>(in.sum) + row * width;
    for_vectors(width, [&](Index j, Index count) {
      Vector s = load_row(x + j, count) + load_row(branch + j, count);
      if (in.branch_bias != nullptr) s += load_row(in.branch_bias + j, count);
      store_row(sum + j, s, count);
      total += s;
    });
    x = sum;
  } else if (!in.rms) {
    for_vectors(width, [&](Index j, Index count) { total += load_row(x + j, count); });
  }
  if (in.normed == nullptr) return;
  const float share = 1.0F / static_cast<float>(width), mean = in.rms ? 0.0F : sum_of(total) * share;
  Element* normed = static_cast<Element*>(in.normed) + row * width;
  in.mean[row] = mean;
  in.scale[row] = norm_row<sum_of>(x, width, mean, {in.weight, in.bias}, normed);
}

/// dx = grad_sum + scale·(g − mean(g) − x̂·mean(g·x̂)), where g = grad_normed·weight; without mean(g) in an RMS norm.
/// What all rows add to is added to `sums`: the gradients of weight, of bias and of the branch's bias, one after the
/// other.
template <class Stream, class Element>
void layer_norm_backward_row(const LayerNormGradients& in, Index row, float* sums) {
  const Index width = in.width;
  const Stream* s = in.sum != nullptr ? static_cast<const Stream*>(in.sum) + row * width : nullptr;
  const Stream* grad_sum = in.grad_sum != nullptr ? static_cast<const Stream*>(in.grad_sum) + row * width : nullptr;
  const Element* grad = in.grad_normed != nullptr ? static_cast<const Element*>(in.grad_normed) + row * width : nullptr;
  const float mean = grad != nullptr ? in.mean[row] : 0, scale = grad != nullptr ? in.scale[row] : 0;
  Vector total{}, along{};
  if (grad != nullptr) {
    for (Index j = 0; j < width; j += vector_width) {
      const Index count = smaller(vector_width, width - j);
      const Vector y = load_row(grad + j, count), normal = (load_row(s + j, count) - mean) * scale,
                   g = y * load_row(in.weight + j, count);
      total += g;
      along += g * normal;
      add_to_row(sums + j, y * normal, count);
      add_to_row(sums + width + j, y, count);
    }
  }
  const float share = 1.0F / static_cast<float>(width), slope = sum_of(along) * share;
  const float middle = in.rms ? 0.0F : sum_of(total) * share;
  for (Index j = 0; j < width; j += vector_width) {
    const Index count = smaller(vector_width, width - j);
    Vector dx = grad_sum != nullptr ? load_row(grad_sum + j, count) : Vector{};
    if (grad != nullptr) {
      const Vector g = load_row(grad + j, count) * load_row(in.weight + j, count),
                   normal = (load_row(s + j, count) - mean) * scale;
      dx += (g - middle - normal * slope) * scale;
    }
    if (in.x != nullptr) store_row(static_cast<Stream*>(in.x) + row * width + j, dx, count);
    if (in.branch != nullptr) store_row(static_cast<Element*>(in.branch) + row * width + j, dx, count);
    if (in.branch_bias_grad != nullptr) add_to_row(sums + 2 * width + j, dx, count);
  }
}

/// Calls `visit` with an element of the stream and one of the rest.
template <class Visit>
void with_elements(Element stream, Element element, const Visit& visit) {
  constexpr float whole = 0;
  constexpr std::uint16_t half = 0;
  if (stream == Element::float32) {
    element == Element::float32 ? visit(whole, whole) : visit(whole, half);
  } else {
    element == Element::float32 ? visit(half, whole) : visit(half, half);
  }
}

void layer_norm_rows(const LayerNormRows& in, Index first, Index last) {
  with_elements(in.stream, in.element, [&]<class Stream, class Number>(Stream, Number) {
    for (Index row = first; row < last; ++row) layer_norm_row<Stream, Number>(in, row);
  });
}

void layer_norm_backward_rows(const LayerNormGradients& in, Index first, Index last, float* sums) {
  with_elements(in.stream, in.element, [&]<class Stream, class Number>(Stream, Number) {
    for (Index row = first; row < last; ++row) layer_norm_backward_row<Stream, Number>(in, row, sums);
  });
}

}  // namespace
}  // namespace linformer::kernels
