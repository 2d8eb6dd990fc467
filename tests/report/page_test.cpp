#include "linformer/report/page.hpp"

#include <gtest/gtest.h>

#include "linformer/core/json.hpp"
#include "linformer/report/document.hpp"

namespace linformer {
namespace {

TEST(Page, IsOneWholeDocumentWithoutPlaceholders) {
  const auto page = render_page({{"runs", json::array()}});
  EXPECT_TRUE(page.starts_with("<!DOCTYPE html>"));
  EXPECT_TRUE(page.ends_with("</html>\n"));
  for (const auto* place : {"@css@", "@echarts@", "@scripts@", "@LINFORMER_DATA@"})
    EXPECT_EQ(page.find(place), std::string::npos) << place;
  for (const auto* foreign : {"<script src", "<link rel=\"stylesheet\"", "@import"})
    EXPECT_EQ(page.find(foreign), std::string::npos) << "the page must need no other file";
}

TEST(Page, TextOfUsersCantEndTheData) {
  const auto page = render_page({{"name", "</script><script>alert(1)</script><!--"}});
  EXPECT_EQ(page.find("alert(1)</script>"), std::string::npos);
  EXPECT_NE(page.find(R"(\u003c/script>\u003cscript>alert(1)\u003c/script>\u003c!--)"), std::string::npos);
}

TEST(Page, SaysWhetherItIsLive) {
  EXPECT_NE(render_page(json::object(), true).find(R"("live":true)"), std::string::npos);
  EXPECT_NE(render_page(json::object()).find(R"("live":false)"), std::string::npos);
}

TEST(Page, BytesThatAreNoTextDontStopIt) {
  EXPECT_NE(render_page({{"name", "caf\xe9"}}).find("caf\xef\xbf\xbd"), std::string::npos);
}

}  // namespace
}  // namespace linformer
