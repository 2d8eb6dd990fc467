// The generator of dropout's masks.
#include <gtest/gtest.h>

#include <array>
#include <cstdint>

#include "kernels/kernel_table.hpp"
#include "linformer/kernels/isa.hpp"

namespace linformer::kernels {
namespace {

// Salmon et al. 2011: the vectors that come with the authors' library, Random123.
TEST(Philox, GivesTheKnownAnswers) {
  struct Known {
    std::array<std::uint32_t, 4> counter;
    std::uint64_t key;
    std::array<std::uint32_t, 4> answer;
  };
  const std::array known{Known{{0, 0, 0, 0}, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
                         Known{{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
                               0xffffffffffffffff,
                               {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
                         Known{{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
                               0x299f31d0a4093822,
                               {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}};
  for (const auto isa : all_isas) {
    if (!isa_supported(isa)) continue;
    for (const auto& [counter, key, answer] : known) {
      std::array<std::uint32_t, 64> numbers{};
      table_of(isa).philox(counter[0], counter[1], counter[2], counter[3], key, numbers.data());
      for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(numbers[16 * i], answer[i]) << isa_name(isa);
    }
  }
}

}  // namespace
}  // namespace linformer::kernels
