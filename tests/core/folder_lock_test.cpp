// Folders that one process writes at a time.
#include "linformer/core/folder_lock.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <optional>

#include "core/support.hpp"
#include "linformer/core/format.hpp"

namespace linformer {
namespace {

namespace fs = std::filesystem;
using test::holds;
using test::message_of;

std::string line_of(const fs::path& file) {
  std::string line;
  std::ifstream stream(file);
  std::getline(stream, line);
  return line;
}

TEST(FolderLock, TheSecondIsToldWhoHoldsIt) {
  const test::TemporaryFolder folder;
  const fs::path file = folder.path() / FolderLock::kFile;
  {
    const FolderLock lock(folder.path());
    const auto message = message_of([&] { FolderLock second(folder.path()); });
    EXPECT_TRUE(holds(message, {folder.path().string(), formatted("process {} on ", ::getpid()), ", since 20", " UTC",
                                "wait", "another --out"}));
    EXPECT_TRUE(holds(line_of(file), {formatted("process {}", ::getpid())}));
  }
  EXPECT_FALSE(fs::exists(file));
  EXPECT_NO_THROW(FolderLock(folder.path()));
}

TEST(FolderLock, MovesWithItsOwner) {
  const test::TemporaryFolder folder;
  std::optional<FolderLock> second;
  {
    FolderLock first(folder.path());
    second.emplace(std::move(first));
  }
  EXPECT_THROW(FolderLock(folder.path()), UserError);
  second.reset();
  EXPECT_NO_THROW(FolderLock(folder.path()));
}

TEST(FolderLock, NeedsItsFolder) {
  const test::TemporaryFolder folder;
  EXPECT_TRUE(holds(message_of([&] { FolderLock(folder / "nothing"); }), {"nothing", "can't be written"}));
}

TEST(FolderLock, AKilledProcessHoldsNothing) {
  const test::TemporaryFolder folder;
  int pipe_ends[2];
  ASSERT_EQ(::pipe(pipe_ends), 0);
  const auto child = ::fork();
  if (child == 0) {
    const FolderLock lock(folder.path());
    static_cast<void>(!::write(pipe_ends[1], "x", 1));
    for (;;) ::pause();
  }
  char byte;
  ASSERT_EQ(::read(pipe_ends[0], &byte, 1), 1);
  EXPECT_TRUE(holds(message_of([&] { FolderLock second(folder.path()); }), {formatted("process {} on", child)}));
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  for (const int end : pipe_ends) ::close(end);
  EXPECT_EQ(folder.names(), std::vector<std::string>{".lock"});
  EXPECT_NO_THROW(FolderLock(folder.path()));
  EXPECT_TRUE(folder.names().empty());
}

TEST(FolderLock, WhatStandsInAForeignFileIsNotRepeated) {
  const test::TemporaryFolder folder;
  folder.write(".lock", std::string(100000, '\x1b'));
  const int other = ::open((folder / ".lock").c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_EQ(::flock(other, LOCK_EX), 0);
  const auto message = message_of([&] { FolderLock second(folder.path()); });
  EXPECT_TRUE(holds(message, {"is being written by another process;"}));
  EXPECT_EQ(message.find('\x1b'), std::string::npos);
  ::close(other);
}

// A folder may come from somebody else, with a link under the lock's name.
TEST(FolderLock, LinksAreNotFollowed) {
  const test::TemporaryFolder folder;
  const fs::path other = folder.write("other", "precious"), held = folder.path() / "run";
  fs::create_directory(held);
  const auto refused = [&] {
    EXPECT_TRUE(holds(message_of([&] { FolderLock lock(held); }), {".lock"}));
    EXPECT_EQ(line_of(other), "precious");
    fs::remove(held / FolderLock::kFile);
  };
  fs::create_symlink(other, held / FolderLock::kFile);
  refused();
  fs::create_hard_link(other, held / FolderLock::kFile);
  refused();
  fs::create_symlink(folder.path() / "nothing", held / FolderLock::kFile);
  refused();
  EXPECT_FALSE(fs::exists(folder.path() / "nothing"));
  EXPECT_NO_THROW(FolderLock{held});
}

TEST(FolderLock, AFolderThatTookItsPlaceIsLeftAlone) {
  const test::TemporaryFolder folder;
  fs::create_directory(folder / "a");
  std::optional<FolderLock> first(folder / "a");
  fs::rename(folder / "a", folder / "b");
  fs::create_directory(folder / "a");
  const FolderLock second(folder / "a");
  first.reset();
  EXPECT_THROW(FolderLock(folder / "a"), UserError);
}

// One makes a file that must not be there and removes it; the file of the lock comes and goes all the while.
int count_meetings(const fs::path& folder, int wanted) {
  int meetings = 0;
  for (int held = 0; held < wanted;) {
    try {
      const FolderLock lock(folder);
      const int alone = ::open((folder / "alone").c_str(), O_CREAT | O_EXCL | O_WRONLY, 0600);
      if (alone < 0) ++meetings;
      ::close(alone);
      ::unlink((folder / "alone").c_str());
      ++held;
    } catch (const UserError&) {
    }
  }
  return meetings;
}

TEST(FolderLock, ManyProcessesNeverMeet) {
  const test::TemporaryFolder folder;
  std::vector<pid_t> children;
  for (int i = 0; i < 4; ++i) {
    children.push_back(::fork());
    if (children.back() == 0) ::_exit(count_meetings(folder.path(), 500) > 0);
  }
  for (const auto child : children) {
    int status = 0;
    ::waitpid(child, &status, 0);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
}

}  // namespace
}  // namespace linformer
