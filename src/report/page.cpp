#include "linformer/report/page.hpp"

#include <string_view>

#include "linformer/core/json.hpp"

// The page that cmake/ReportPage.cmake assembles, put into this object file as it is: a string literal of this size
// costs seconds to compile.
__asm__(
    ".pushsection .rodata\n"
    ".global linformer_report_page_begin\n"
    ".global linformer_report_page_end\n"
    "linformer_report_page_begin:\n"
    ".incbin \"" LINFORMER_REPORT_PAGE
    "\"\n"
    "linformer_report_page_end:\n"
    ".popsection\n");

extern "C" const char linformer_report_page_begin[], linformer_report_page_end[];

namespace linformer {
namespace {

constexpr std::string_view kPlace = "@LINFORMER_DATA@";

// Inside <script type="application/json"> only `<` could end or open anything; in JSON it stands in strings alone.
std::string escaped(const std::string& text) {
  std::string result;
  result.reserve(text.size());
  for (const char c : text) {
    if (c == '<') {
      result += "\\u003c";
    } else {
      result += c;
    }
  }
  return result;
}

}  // namespace

std::string render_page(const json& document, bool live) {
  const std::string_view page(linformer_report_page_begin,
                              static_cast<std::size_t>(linformer_report_page_end - linformer_report_page_begin));
  const auto place = page.find(kPlace);
  auto shown = document;
  shown["live"] = live;
  std::string result(page.substr(0, place));
  result += escaped(dump(shown));
  result += page.substr(place + kPlace.size());
  return result;
}

}  // namespace linformer
