// Positions [first, last) of kernels/rotary.hpp, counted over all sequences.
#pragma once

#include "kernels/element.hpp"
#include "kernels/rotary.hpp"

namespace linformer::kernels {
namespace {

template <class Element>
void rotate_position(const RotaryRows& in, Index batch, Index position) {
  const Index half = in.width / 2;
  const float *cosine = in.turns + batch * in.turns_batch + position * in.width, *sine = cosine + half;
  const float direction = in.back ? -1.0F : 1.0F;
  const Element* x = static_cast<const Element*>(in.x.data) + batch * in.x.batch + position * in.x.row;
  Element* out = static_cast<Element*>(in.out) + (batch * in.length + position) * in.heads * in.width;
  for (Index head = 0; head < in.heads; ++head, x += in.x.head, out += in.width) {
    for (Index j = 0; j < half; j += vector_width) {
      const Index count = smaller(vector_width, half - j);
      const Vector a = load_row(x + j, count), b = load_row(x + half + j, count);
      const Vector c = load_row(cosine + j, count), s = direction * load_row(sine + j, count);
      store_row(out + j, a * c - b * s, count);
      store_row(out + half + j, b * c + a * s, count);
    }
  }
}

void rotary_rows(const RotaryRows& in, Index first, Index last) {
  for (Index i = first; i < last; ++i) {
    const Index batch = i / in.length, position = i % in.length;
    in.element == Element::float32 ? rotate_position<float>(in, batch, position)
                                   : rotate_position<std::uint16_t>(in, batch, position);
  }
}

}  // namespace
}  // namespace linformer::kernels
