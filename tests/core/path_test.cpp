#include "linformer/core/path.hpp"

#include "core/support.hpp"

namespace linformer {
namespace {

namespace fs = std::filesystem;

TEST(Path, EverySpellingOfAPlaceIsOne) {
  const test::TemporaryFolder folder;
  fs::create_directories(folder.path() / "books/old");
  fs::create_directory_symlink(folder.path() / "books", folder.path() / "link");
  const auto books = resolved_path(folder.path() / "books");
  EXPECT_EQ(resolved_path(folder.path() / "link"), books);
  EXPECT_EQ(resolved_path(folder.path() / "books/"), books);
  EXPECT_EQ(resolved_path(folder.path() / "other/../books/./"), books);
  EXPECT_EQ(resolved_path(folder.path() / "link/not/yet"), books / "not/yet");
}

TEST(Path, AFolderHoldsItselfAndWhatIsUnderIt) {
  const test::TemporaryFolder folder;
  const auto books = folder.path() / "books";
  fs::create_directories(books / "old");
  fs::create_directory_symlink(books, folder.path() / "link");
  EXPECT_TRUE(is_inside(books, books));
  EXPECT_TRUE(is_inside(books / "old/", books));
  EXPECT_TRUE(is_inside(folder.path() / "link/old/not yet", books));
  EXPECT_FALSE(is_inside(folder.path() / "books2", books));
  EXPECT_FALSE(is_inside(folder.path(), books));
  EXPECT_FALSE(is_inside(books / "..", books));
}

}  // namespace
}  // namespace linformer
