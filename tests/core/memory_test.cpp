// Numbers of memory: what there is, what an error says, how it is written.
#include "linformer/core/memory.hpp"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vector>

#include "core/support.hpp"

namespace linformer {
namespace {

TEST(Memory, WhatThereIs) {
  const auto before = resident_bytes();
  EXPECT_GT(before, 1 << 20);
  const std::vector<char> block(64 << 20, 1);
  EXPECT_GT(resident_bytes(), before + (60 << 20));
  const auto now = resident_bytes();
  EXPECT_GE(resident_peak_bytes() + (1 << 20), now);  // the system counts the peak in batches of pages
  EXPECT_GT(available_memory_bytes(), 0);
  EXPECT_GT(available_memory_and_swap_bytes(), 0);
}

TEST(Memory, LimitsOfTheProcessCount) {
  const auto child = ::fork();
  if (child == 0) {
    limit_memory(256 << 20);
    const bool below = available_memory_bytes() <= 256 << 20, swap_too = available_memory_and_swap_bytes() <= 256 << 20;
    ::_exit(below && swap_too && available_memory_bytes() > 128 << 20 ? 0 : 1);
  }
  int status = 1;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST(Memory, ErrorsThatSayThatItRanOut) {
  const std::string of_tensor =
      "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate "
      "256000000000 bytes. Error code 12 (Cannot allocate memory)";
  EXPECT_TRUE(is_out_of_memory(of_tensor));
  EXPECT_EQ(bytes_asked_for(of_tensor), 256'000'000'000);
  EXPECT_TRUE(is_out_of_memory(std::bad_alloc().what()));
  EXPECT_TRUE(is_out_of_memory("CUDA out of memory. Tried to allocate 20.00 GiB"));
  EXPECT_TRUE(is_out_of_memory("Storage size calculation overflowed with sizes=[1099511627776, 1099511627776]"));
  EXPECT_EQ(bytes_asked_for("std::bad_alloc"), 0);
  EXPECT_EQ(bytes_asked_for("you tried to allocate many bytes"), 0);
  EXPECT_FALSE(is_out_of_memory("mat1 and mat2 shapes cannot be multiplied (3x4 and 5x6)"));
}

TEST(Memory, Sizes) {
  EXPECT_EQ(format_bytes(0), "0 bytes");
  EXPECT_EQ(format_bytes(999), "999 bytes");
  EXPECT_EQ(format_bytes(1000), "1.0 kB");
  EXPECT_EQ(format_bytes(99'940), "99.9 kB");
  EXPECT_EQ(format_bytes(123'456'789), "123 MB");
  EXPECT_EQ(format_bytes(256e9), "256 GB");
  EXPECT_EQ(format_bytes(999.9e9), "1.0 TB");
  EXPECT_EQ(format_bytes(2e21), "2000 EB");
}

}  // namespace
}  // namespace linformer
