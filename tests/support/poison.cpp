// Fresh memory is full of NaN: what a tensor or a kernel reads before it is written shows in the results. And each test
// draws the same random numbers in every run, alone or among others. For every test of a program that links this file.
#include <ATen/ATen.h>
#include <c10/core/CPUAllocator.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <new>

namespace {

constexpr int kPoison = 0xff;  // bytes of which each floating dtype makes NaN

class Poisoned final : public c10::Allocator {
 public:
  c10::DataPtr allocate(std::size_t bytes) override {
    auto memory = c10::GetDefaultCPUAllocator()->allocate(bytes);
    if (memory) std::memset(memory.get(), kPoison, bytes);
    return memory;
  }
  c10::DeleterFnPtr raw_deleter() const override { return c10::GetDefaultCPUAllocator()->raw_deleter(); }
  void copy_data(void* to, const void* from, std::size_t bytes) const override { default_copy_data(to, from, bytes); }
};

// LibTorch seeds its generator from the system. LINFORMER_TEST_SEED tries other numbers.
class Seeded final : public testing::EmptyTestEventListener {
  void OnTestStart(const testing::TestInfo&) override {
    const char* given = std::getenv("LINFORMER_TEST_SEED");
    at::manual_seed(given != nullptr ? std::strtoull(given, nullptr, 10) : 1);
  }
};

const bool kInstalled = [] {
  static Poisoned poisoned;
  c10::SetCPUAllocator(&poisoned, 100);
  testing::UnitTest::GetInstance()->listeners().Append(new Seeded);
  return true;
}();

}  // namespace

// The kernels' working memory, which asks for its alignment.
__attribute__((noinline)) void* operator new(std::size_t bytes, std::align_val_t alignment) {
  const auto unit = static_cast<std::size_t>(alignment);
  const auto whole = (bytes + unit - 1) / unit * unit;
  void* memory = std::aligned_alloc(unit, whole > 0 ? whole : unit);
  if (memory == nullptr) throw std::bad_alloc();
  return std::memset(memory, kPoison, bytes);
}
__attribute__((noinline)) void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
__attribute__((noinline)) void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  std::free(memory);
}

namespace {

TEST(Poison, FreshMemoryIsNotANumber) {
  ASSERT_TRUE(kInstalled);
  for (const auto dtype : {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf}) {
    EXPECT_TRUE(at::empty({3, 7}, dtype).isnan().all().item<bool>()) << dtype;
    auto grown = at::zeros({2}, dtype);
    grown.resize_({50});
    EXPECT_TRUE(grown.narrow(0, 2, 48).isnan().all().item<bool>()) << dtype;
  }
  constexpr std::align_val_t line{64};
  auto* floats = static_cast<float*>(::operator new(40, line));
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(floats[i] != floats[i]);
  ::operator delete(floats, line);
}

}  // namespace
