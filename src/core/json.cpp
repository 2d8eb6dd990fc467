#include "linformer/core/json.hpp"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "linformer/core/error.hpp"
#include "linformer/core/excerpt.hpp"
#include "linformer/core/file.hpp"
#include "linformer/core/lenient_json.hpp"

template class nlohmann::basic_json<nlohmann::ordered_map>;

namespace linformer {
namespace {

// The deepest file of this program has six levels. What handles a value may call itself once a level, and a stack is
// small.
constexpr std::size_t kDeepest = 64;
constexpr std::size_t kReasonBytes = 200;

/// Builds a value, up to a depth. It appends to objects without looking for the key, as json's own parser does, since
/// looking through a list for each of its keys takes quadratic time; keys that come twice are found at the end.
class Builder final : public nlohmann::json_sax<json> {
 public:
  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(json::number_integer_t value) override { return add(value); }
  bool number_unsigned(json::number_unsigned_t value) override { return add(value); }
  bool number_float(json::number_float_t value, const std::string&) override { return add(value); }
  bool string(std::string& value) override { return add(std::move(value)); }
  bool binary(json::binary_t& value) override { return add(std::move(value)); }
  bool start_object(std::size_t) override { return open(json::object()); }
  bool start_array(std::size_t) override { return open(json::array()); }
  bool key(std::string& name) override {
    keys_.back() = std::move(name);
    return true;
  }
  bool end_array() override { return close(); }
  bool end_object() override {
    std::vector<std::string_view> names;
    for (const auto& [name, value] : open_.back()->get_ref<const json::object_t&>()) names.push_back(name);
    std::ranges::sort(names);
    const auto twice = std::ranges::adjacent_find(names);
    if (twice != names.end()) return refuse("the key " + json_excerpt(*twice) + " comes twice in one object");
    return close();
  }
  bool parse_error(std::size_t, const std::string&, const json::exception& error) override {
    // "[json.exception.parse_error.101] parse error at line 1, column 5: …": the bracket tells users nothing.
    std::string reason = error.what();
    if (const auto end = reason.find("] "); end != std::string::npos) reason.erase(0, end + 2);
    // It quotes the text, which may be any bytes; a message must be readable.
    std::ranges::replace_if(reason, [](char c) { return c < ' ' || c > '~'; }, '?');
    return refuse("not valid JSON: " + excerpt(reason, kReasonBytes));
  }

  json take() { return std::move(root_); }
  const std::string& mistake() const { return mistake_; }

 private:
  bool refuse(std::string reason) {
    mistake_ = std::move(reason);
    return false;
  }

  json& place(json part) {
    if (open_.empty()) return root_ = std::move(part);
    auto& parent = *open_.back();
    if (parent.is_array()) return parent.get_ref<json::array_t&>().emplace_back(std::move(part));
    return parent.get_ref<json::object_t&>().emplace_back(std::move(keys_.back()), std::move(part)).second;
  }
  bool add(json part) {
    place(std::move(part));
    return true;
  }
  bool open(json part) {
    if (open_.size() == kDeepest)
      return refuse("lists and objects lie in each other more than " + std::to_string(kDeepest) +
                    " deep; no file of this program needs that");
    open_.push_back(&place(std::move(part)));
    keys_.emplace_back();
    return true;
  }
  bool close() {
    open_.pop_back();
    keys_.pop_back();
    return true;
  }

  json root_;
  std::string mistake_;
  // A parent gets its next part only when the one before is closed, so that these stay where they are.
  std::vector<json*> open_;
  std::vector<std::string> keys_;  // of the part that comes next, for each open object
};

}  // namespace

json parse_json(std::string_view text, std::string_view source) {
  Builder builder;
  if (!json::sax_parse(text, &builder)) fail("{}: {}", source, builder.mistake());
  return builder.take();
}

json parse_json_or_discard(std::string_view text) {
  Builder builder;
  if (!json::sax_parse(text, &builder)) return json(json::value_t::discarded);
  return builder.take();
}

std::string dump(const json& value, int indent) {
  return value.dump(indent, ' ', false, json::error_handler_t::replace);
}

json read_json(const std::filesystem::path& path) { return parse_json(read_file(path), path.string()); }

}  // namespace linformer
