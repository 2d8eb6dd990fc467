#include "linformer/core/hash.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "core/sha256_blocks.hpp"

namespace linformer {
namespace {

// NIST's examples for SHA-256 (FIPS 180-4), and lengths about the border of a block (from Python's hashlib).
TEST(Sha256, KnownVectors) {
  EXPECT_EQ(sha256(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sha256(std::string(1'000'000, 'a')), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, LengthsAboutTheBorderOfABlock) {
  const std::pair<std::size_t, const char*> cases[] = {
      {55, "d5e285683cd4efc02d021a5c62014694958901005d6f71e89e0989fac77e4072"},
      {56, "04c26261370ee7541549d16dee320c723e3fd14671e66a099afe0a377c16888e"},
      {63, "75220b47218278e656f2013bb8f0c455a25eaf01e86c64924e9d48d89776d6f2"},
      {64, "7ce100971f64e7001e8fe5a51973ecdfe1ced42befe7ee8d5fd6219506b5393c"},
      {65, "9537c5fdf120482f7d58d25e9ed583f52c02b4e304ea814db1633ad565aed7e9"},
      {119, "000b48d4edf0fa7bee3c6236ecd2785baa5db4eeb8bb54341b029e0d9fa5fb0c"},
      {120, "13f05a0b594787f5ecd315edc96141bd3243203d1b7d4f0836f37308b276ba98"},
      {128, "24da1b81d0b16df6428eee73c69fcb2a93c76bc6df706f0c6670fe6bfe800464"}};
  for (const auto& [length, expected] : cases) EXPECT_EQ(sha256(std::string(length, 'x')), expected) << length;
}

TEST(Sha256, BytesAreNotSigned) {
  EXPECT_EQ(sha256(std::string(3, '\xff')), "5ae7e6a42304dc6e4176210b83c43024f99a0bce9a870c3b6d2c95fc8ebfb74c");
  EXPECT_EQ(sha256(std::string(1, '\0')), "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
}

TEST(Sha256, TheProcessorsInstructionsAgreeWithThePortableRounds) {
  if (!has_sha_extensions()) GTEST_SKIP() << "this processor has no SHA extensions";
  std::mt19937_64 random(5);
  std::string bytes(7 * kSha256Block + 1, ' ');
  for (auto& byte : bytes) byte = static_cast<char>(random());
  Sha256State portable{1, 2, 3, 0xfffffff0u, 5, 6, 7, 8}, extended = portable;
  for (const std::size_t blocks : {1u, 0u, 7u, 3u}) {
    const auto* odd = reinterpret_cast<const unsigned char*>(bytes.data()) + 1;
    sha256_portable(portable, odd, blocks);
    sha256_extended(extended, odd, blocks);
    EXPECT_EQ(portable, extended) << blocks;
  }
}

}  // namespace
}  // namespace linformer
