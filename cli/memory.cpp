#include "memory.hpp"

#include <cstdlib>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <array>
#include <limits>
#include <string>
#include <vector>

#include "linformer/core/format.hpp"
#include "linformer/core/memory.hpp"

namespace linformer::cli {

void keep_freed_memory() {
#ifdef __GLIBC__
  for (const auto* name : {"MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"}) {
    if (std::getenv(name) != nullptr) return;
  }
  // Larger buffers are few and are given back. If they were kept, they would leave holes that nothing else fills: a
  // gigabyte at N 65,536. Older versions of glibc refuse more than 32 MiB.
  if (mallopt(M_MMAP_THRESHOLD, 1 << 28) == 0) mallopt(M_MMAP_THRESHOLD, 1 << 25);
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
#endif
}

namespace {

// Flags whose numbers decide how much memory a verb takes.
constexpr std::array kSizes{"--batch",        "--samples",     "--max-tokens",         "--length",
                            "--max-length",   "--train.batch", "--model.length",       "--model.width",
                            "--model.layers", "--model.heads", "--model.feed_forward", "--model.vocabulary"};

std::vector<std::string> sizes_given(const CLI::App& verb) {
  std::vector<std::string> given;
  for (const auto* name : kSizes) {
    const auto* option = verb.get_option_no_throw(name);
    if (option != nullptr && option->count() > 0)
      given.push_back(formatted("{} {}", name, joined(option->results(), " ")));
  }
  return given;
}

}  // namespace

std::string out_of_memory(const CLI::App& app, std::string_view error) {
  const auto verbs = app.get_subcommands();
  const auto sizes = verbs.empty() ? std::vector<std::string>() : sizes_given(*verbs.front());
  const auto asked = bytes_asked_for(error);
  return formatted("out of memory{}, with {} free; {}",
                   asked > 0 ? formatted(": {} were asked for in one piece", format_bytes(static_cast<double>(asked)))
                             : std::string(),
                   format_bytes(static_cast<double>(available_memory_bytes())),
                   sizes.empty() ? std::string("use a smaller model, or give it less at once")
                                 : formatted("use less than {}", joined(sizes, ", ")));
}

}  // namespace linformer::cli
