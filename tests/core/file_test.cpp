#include "linformer/core/file.hpp"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "core/support.hpp"

namespace linformer {
namespace {

namespace fs = std::filesystem;
using test::holds;
using test::message_of;
using test::TemporaryFolder;

// Runs `work` in a process of its own with files of at most `limit` bytes; the exit status is what `work` returns.
template <class Work>
int status_of_child(const Work& work, rlim_t limit = RLIM_INFINITY) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit files{limit, limit};
    ::setrlimit(RLIMIT_FSIZE, &files);
    ::_exit(work());
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return status;
}

TEST(ReadFile, WholeContent) {
  const TemporaryFolder folder;
  const std::string odd("a\0b\r\n\xff", 6);
  EXPECT_EQ(read_file(folder.write("odd", odd)), odd);
  EXPECT_EQ(read_file(folder.write("empty", "")), "");
  const std::string large(1'234'567, 'x');
  EXPECT_EQ(read_file(folder.write("large", large)), large);
  EXPECT_EQ(read_file("/proc/self/stat").empty(), false);  // says that its size is 0
}

TEST(ReadFile, ErrorsNameTheFileAndTheReason) {
  const TemporaryFolder folder;
  EXPECT_TRUE(
      holds(message_of([&] { read_file(folder / "nothing"); }), {(folder / "nothing").string(), "No such file"}));
  EXPECT_TRUE(
      holds(message_of([&] { read_file(folder.path()); }), {folder.path().string(), "is a folder, expected a file"}));
}

TEST(AppendLine, AddsLinesAndEndsOneThatWasCut) {
  const TemporaryFolder folder;
  const auto file = folder / "lines";
  append_line(file, "one");
  append_line(file, "two");
  EXPECT_EQ(read_file(file), "one\ntwo\n");
  folder.write("lines", "one\ntw");
  append_line(file, "three");
  EXPECT_EQ(read_file(file), "one\ntw\nthree\n");
  EXPECT_TRUE(
      holds(message_of([&] { append_line(folder.path(), "x"); }), {folder.path().string(), "can't be written"}));
  EXPECT_TRUE(holds(message_of([&] { append_line("/dev/full", "x"); }), {"/dev/full", "No space left"}));
}

TEST(MappedFile, HoldsTheBytes) {
  const TemporaryFolder folder;
  MappedFile file(folder.write("seven", "1234567"));
  EXPECT_EQ(file.bytes().size(), 7u);
  MappedFile moved = std::move(file);
  EXPECT_EQ(moved.bytes()[6], std::byte{'7'});
  moved = MappedFile(folder.write("two", "ab"));
  EXPECT_EQ(moved.bytes().size(), 2u);
  EXPECT_TRUE(MappedFile(folder.write("empty", "")).bytes().empty());
}

TEST(MappedFile, Errors) {
  const TemporaryFolder folder;
  EXPECT_TRUE(holds(message_of([&] { MappedFile file(folder / "nothing"); }), {"nothing", "No such file"}));
  EXPECT_TRUE(holds(message_of([&] { MappedFile file(folder.path()); }), {"is a folder"}));
  EXPECT_TRUE(holds(message_of([&] { MappedFile file("/dev/null"); }), {"/dev/null", "not a regular file"}));
}

TEST(WriteAtomically, ReplacesTheContentAndLeavesNothingElse) {
  const TemporaryFolder folder;
  for (const auto* content : {"first, and longer", "second", ""}) {
    write_atomically(folder / "file", content);
    EXPECT_EQ(read_file(folder / "file"), content);
  }
  EXPECT_EQ(folder.names(), std::vector<std::string>{"file"});
}

TEST(WriteAtomically, ManySizesAboutTheBuffer) {
  const TemporaryFolder folder;
  std::string expected;
  write_atomically(folder / "file", [&](FileWriter& writer) {
    for (const std::size_t size : {1u, 0u, 262'143u, 2u, 262'144u, 262'145u, 7u}) {
      const std::string part(size, static_cast<char>('a' + size % 26));
      writer.write(part);
      expected += part;
      EXPECT_EQ(writer.size(), expected.size());
    }
    writer.write_at(3, "HEADER", 6);
    expected.replace(3, 6, "HEADER");
    writer.write("the end");
    expected += "the end";
  });
  EXPECT_EQ(read_file(folder / "file"), expected);
}

TEST(WriteAtomically, WriteAtStaysWithinWhatIsWritten) {
  const TemporaryFolder folder;
  const auto message = message_of([&] {
    write_atomically(folder / "file", [](FileWriter& writer) {
      writer.write("1234");
      writer.write_at(2, "567", 3);
    });
  });
  EXPECT_TRUE(holds(message, {"write_at"}));
  EXPECT_TRUE(folder.names().empty());
}

TEST(WriteAtomically, AFailedWriteLeavesTheOldFile) {
  const TemporaryFolder folder;
  write_atomically(folder / "file", "old");
  EXPECT_THROW(write_atomically(folder / "file",
                                [](FileWriter& writer) {
                                  writer.write("new");
                                  throw std::runtime_error("no");
                                }),
               std::runtime_error);
  EXPECT_EQ(read_file(folder / "file"), "old");
  EXPECT_EQ(folder.names(), std::vector<std::string>{"file"});
}

TEST(WriteAtomically, AFullDiskLeavesTheOldFileAndSaysSo) {
  const TemporaryFolder folder;
  write_atomically(folder / "file", "old");
  const auto status = status_of_child(
      [&] {
        const auto message = message_of([&] { write_atomically(folder / "file", std::string(300'000, 'x')); });
        return holds(message, {(folder / "file").string(), "can't be written", "File too large"}) ? 0 : 1;
      },
      /*limit=*/100'000);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(read_file(folder / "file"), "old");
  EXPECT_EQ(folder.names(), std::vector<std::string>{"file"});
}

TEST(WriteAtomically, AKillLeavesTheOldFileAndTheNextWriteCleansUp) {
  const TemporaryFolder folder;
  write_atomically(folder / "file", "old");
  const auto status = status_of_child([&] {
    write_atomically(folder / "file", [](FileWriter& writer) {
      writer.write(std::string(500'000, 'x'));
      ::raise(SIGKILL);
    });
    return 0;
  });
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(read_file(folder / "file"), "old");
  EXPECT_EQ(folder.names().size(), 2u);
  write_atomically(folder / "file", "new");
  EXPECT_EQ(read_file(folder / "file"), "new");
  EXPECT_EQ(folder.names(), std::vector<std::string>{"file"});
}

// In a container every run may have the same process number.
TEST(WriteAtomically, TemporariesOfAnEarlierProcessOfTheSameNumberAreRemoved) {
  const TemporaryFolder folder;
  const auto own = std::to_string(::getpid());
  folder.write(".file.tmp-" + own + "-1a2b-0", "left");
  folder.write(".file.tmp-1-1a2b-0", "of a process that lives");
  write_atomically(folder / "file", "new");
  EXPECT_EQ(folder.names(), (std::vector<std::string>{".file.tmp-1-1a2b-0", "file"}));
}

TEST(WriteAtomically, Errors) {
  const TemporaryFolder folder;
  EXPECT_TRUE(holds(message_of([&] { write_atomically(folder / "no/file", "x"); }),
                    {"no/file", "does not exist; create it first"}));
  EXPECT_TRUE(holds(message_of([&] { write_atomically(folder.path(), "x"); }), {"is a folder or device"}));
  EXPECT_TRUE(holds(message_of([&] { write_atomically("/dev/null", "x"); }), {"is a folder or device"}));
}

TEST(WriteAtomically, ALinkKeepsPointing) {
  const TemporaryFolder folder;
  folder.write("target", "old");
  fs::create_symlink(folder / "target", folder / "link");
  write_atomically(folder / "link", "new");
  EXPECT_TRUE(fs::is_symlink(folder / "link"));
  EXPECT_EQ(read_file(folder / "target"), "new");
}

TEST(WriteFolderAtomically, ReplacesTheFolder) {
  const TemporaryFolder folder;
  for (const auto* content : {"first", "second"}) {
    write_folder_atomically(folder / "made/", [&](const fs::path& building) {
      EXPECT_NE(building, folder / "made");
      write_atomically(building / content, content);
      fs::create_directory(building / "sub");
      write_atomically(building / "sub/file", content);
    });
    EXPECT_EQ(read_file(folder / "made" / "sub/file"), content);
    EXPECT_EQ(fs::exists(folder / "made" / "first"), std::string(content) == "first");
    EXPECT_EQ(folder.names(), std::vector<std::string>{"made"});
  }
}

TEST(WriteFolderAtomically, FailureAndKillLeaveTheOldFolder) {
  const TemporaryFolder folder;
  const auto fill = [](const char* content) {
    return [content](const fs::path& building) { write_atomically(building / "file", content); };
  };
  write_folder_atomically(folder / "made", fill("old"));
  EXPECT_THROW(write_folder_atomically(folder / "made",
                                       [&](const fs::path& building) {
                                         fill("new")(building);
                                         fail("no");
                                       }),
               UserError);
  EXPECT_EQ(folder.names(), std::vector<std::string>{"made"});
  const auto status = status_of_child([&] {
    write_folder_atomically(folder / "made", [&](const fs::path& building) {
      fill("new")(building);
      ::raise(SIGKILL);
    });
    return 0;
  });
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(read_file(folder / "made" / "file"), "old");
  write_folder_atomically(folder / "made", fill("new"));
  EXPECT_EQ(read_file(folder / "made" / "file"), "new");
  EXPECT_EQ(folder.names(), std::vector<std::string>{"made"});
}

TEST(WriteFolderAtomically, Errors) {
  const TemporaryFolder folder;
  folder.write("file", "mine");
  const auto nothing = [](const fs::path&) {};
  EXPECT_TRUE(holds(message_of([&] { write_folder_atomically(folder / "file", nothing); }),
                    {"is a file, expected the name of a folder"}));
  EXPECT_TRUE(holds(message_of([&] { write_folder_atomically(folder / "no/made", nothing); }),
                    {"does not exist; create it first"}));
  const auto message = message_of([&] {
    write_folder_atomically(folder / "made",
                            [](const fs::path& building) { fs::copy(building / "nothing", building / "x"); });
  });
  EXPECT_TRUE(holds(message, {(folder / "made").string(), "can't be written: No such file"}));
  EXPECT_EQ(read_file(folder / "file"), "mine");
}

TEST(ReadFile, ADeviceWithoutEndIsAnError) {
  try {
    read_file("/dev/zero");
    FAIL() << "it ended";
  } catch (const UserError& error) {
    EXPECT_TRUE(std::string_view(error.what()).starts_with("/dev/zero: is no regular file"));
  }
}

}  // namespace
}  // namespace linformer
