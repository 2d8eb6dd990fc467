// Safetensors files and model folders: what is written reads back, and whatever else is there is a UserError, never a
// crash or a large allocation.
#include "linformer/nn/model_file.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <random>

#include "linformer/core/file.hpp"
#include "linformer/core/format.hpp"
#include "linformer/core/json.hpp"
#include "nn/forms.hpp"

namespace linformer {
namespace {

using namespace linformer::test;  // NOLINT: the test's own helpers
namespace fs = std::filesystem;

class ModelFile : public ::testing::Test {
 protected:
  ModelFile() {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~ModelFile() override { fs::remove_all(folder_); }

  void put(const std::string& bytes, const char* name = "file.safetensors") const {
    std::ofstream(folder_ / name, std::ios::binary | std::ios::trunc) << bytes;
  }
  std::string error_of(const std::string& bytes) const {
    put(bytes);
    return message_of([&] { read_safetensors(folder_ / "file.safetensors"); });
  }
  std::string error_of_model() const {
    return message_of([&] { load_model(folder_); });
  }
  void expect_refused(const std::string& bytes, const std::string& part) const {
    const auto message = error_of(bytes);
    EXPECT_NE(message.find(part), std::string::npos) << "got: " << message << "\nexpected: " << part;
  }

  const fs::path folder_ = fs::temp_directory_path() / formatted("linformer_model_file_{}", ::getpid());
};

std::string with_length(std::uint64_t length, const std::string& rest) {
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  return bytes + rest;
}
std::string file_of(const std::string& header, const std::string& data = "") {
  return with_length(header.size(), header + data);
}

TensorFile sample() {
  const auto generator = at::detail::createCPUGenerator(3);
  return {{{"b", at::randn({3, 5}, generator, at::kFloat)},
           {"a", at::randint(-9, 9, {7}, generator, at::kLong)},
           {"empty", at::empty({0, 4})},
           {"scalar", at::full({}, 2.5, at::kDouble)},
           {"mask", at::randint(0, 2, {3}, generator, at::kLong).to(at::kBool)},
           {"half", at::randn({2}, generator, at::kFloat).to(at::kBFloat16)}},
          {{"format", "linformer"}, {"note", "ü \"quoted\""}}};
}

TEST_F(ModelFile, ReadsWhatItWrote) {
  const auto written = sample();
  write_safetensors(folder_ / "x", written);
  const auto read = read_safetensors(folder_ / "x");
  EXPECT_EQ(read.metadata, written.metadata);
  ASSERT_EQ(read.tensors.size(), written.tensors.size());
  for (std::size_t i = 0; i < read.tensors.size(); ++i) {
    EXPECT_EQ(read.tensors[i].first, written.tensors[i].first);
    EXPECT_EQ(read.tensors[i].second.scalar_type(), written.tensors[i].second.scalar_type());
    EXPECT_TRUE(read.tensors[i].second.equal(written.tensors[i].second)) << read.tensors[i].first;
  }
  EXPECT_TRUE(read.at("a").equal(written.at("a")));
  EXPECT_NE(message_of([&] { read.at("c"); }).find("'c' is missing"), std::string::npos);
}

TEST_F(ModelFile, RefusesWhatItCannotStore) {
  const auto one = at::ones({1});
  EXPECT_NE(message_of([&] { write_safetensors(folder_ / "x", {{{"a", one}, {"a", one}}, {}}); }).find("named twice"),
            std::string::npos);
  EXPECT_NE(
      message_of([&] { write_safetensors(folder_ / "x", {{{"a", one.to(at::kComplexFloat)}}, {}}); }).find("dtype"),
      std::string::npos);
  EXPECT_FALSE(fs::exists(folder_ / "x"));
}

TEST_F(ModelFile, RefusesBadHeaders) {
  expect_refused("", "0 bytes");
  expect_refused("1234567", "7 bytes");
  expect_refused(with_length(0, ""), "not valid JSON");
  for (const std::uint64_t length :
       {std::uint64_t{3}, std::uint64_t{1} << 40, std::numeric_limits<std::uint64_t>::max(), std::uint64_t{1} << 63,
        std::numeric_limits<std::uint64_t>::max() - 7}) {
    expect_refused(with_length(length, "{}"), "its header claims");
  }
  expect_refused(file_of("{"), "not valid JSON");
  expect_refused(file_of("\xff\xfe{}"), "not valid JSON");
  expect_refused(file_of("[]"), "not a JSON object");
  expect_refused(file_of("{}", "x"), "1 bytes of data");
  expect_refused(file_of(R"({"a":3})"), "expected dtype, shape and two data_offsets");
  expect_refused(file_of(R"({"__metadata__":3})"), "__metadata__");
  expect_refused(file_of(R"({"__metadata__":{"a":3}})"), "metadata 'a'");
  // Nesting as deep as the header is long must not end the stack.
  EXPECT_NE(error_of(file_of(std::string(3'000'000, '['))), "no error");
  EXPECT_NE(error_of(file_of(R"({"a":)" + std::string(1'000'000, '[') + std::string(1'000'000, ']') + "}")),
            "no error");
}

TEST_F(ModelFile, RefusesBadEntries) {
  const auto entry = [](const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return formatted(R"("dtype":"{}","shape":{},"data_offsets":{})", dtype, shape, offsets);
  };
  const std::string data(8, 'x');
  const auto one = [&](const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return file_of("{\"a\":{" + entry(dtype, shape, offsets) + "}}", data);
  };
  EXPECT_EQ(error_of(one("F32", "[2]", "[0,8]")), "no error");
  expect_refused(one("F31", "[2]", "[0,8]"), "dtype 'F31'");
  expect_refused(one("F32", "[3]", "[0,8]"), "need 12 bytes");
  expect_refused(one("F64", "[2]", "[0,8]"), "need 16 bytes");
  expect_refused(one("F32", "2", "[0,8]"), "expected dtype, shape");
  expect_refused(one("F32", "[2]", "[0]"), "two data_offsets");
  expect_refused(one("F32", "[-2]", "[0,8]"), "not negative");
  expect_refused(one("F32", "[2.0]", "[0,8]"), "whole number");
  expect_refused(one("F32", "[2]", "[-8,0]"), "not negative");
  expect_refused(one("F32", "[2]", "[8,0]"), "offsets 8 to 0");
  expect_refused(one("F32", "[2]", "[0,9]"), "offsets 0 to 9");
  expect_refused(one("F32", "[2]", "[18446744073709551608,18446744073709551615]"), "offsets");
  expect_refused(one("F32", "[1]", "[0,4]"), "8 bytes of data, of which tensors use 4");
  expect_refused(one("F32", "[1]", "[4,8]"), "starts at byte 4");
  // Products that overflow, to zero or past it.
  expect_refused(one("F32", "[4611686018427387904,4]", "[0,0]"), "too large");
  expect_refused(one("F32", "[4294967296,4294967296]", "[0,0]"), "too large");
  expect_refused(one("F32", "[18446744073709551615]", "[0,8]"), "too large");
  const auto two = [&](const std::string& a, const std::string& b) {
    return file_of("{\"a\":{" + entry("F32", "[1]", a) + "},\"b\":{" + entry("F32", "[1]", b) + "}}", data);
  };
  EXPECT_EQ(error_of(two("[4,8]", "[0,4]")), "no error");
  expect_refused(two("[0,4]", "[0,4]"), "overlap");
  expect_refused(two("[0,4]", "[2,6]"), "overlap");
  // An empty tensor's other sizes still make strides.
  EXPECT_EQ(error_of(file_of("{\"a\":{" + entry("F32", "[3,0,1000000]", "[0,0]") + "}}")), "no error");
  expect_refused(file_of("{\"a\":{" + entry("F32", "[0,4611686018427387904,8]", "[0,0]") + "}}"), "too large");
}

// Every byte of the header flipped in some bits, every cut, many random changes; allocations are limited by the
// process's own limit.
TEST_F(ModelFile, NoDamageCrashesOrAllocatesWithoutBound) {
  write_safetensors(folder_ / "x", sample());
  const auto good = read_file(folder_ / "x");
  const auto peak = [] {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
  };
  const auto before = peak();
  int refused = 0, tried = 0;
  const auto attempt = [&](const std::string& bytes) {
    ++tried;
    refused += error_of(bytes) != "no error";  // anything but a UserError ends the test
  };
  for (std::size_t size = 0; size < good.size(); ++size) attempt(good.substr(0, size));
  EXPECT_EQ(refused, tried) << "a cut file was taken";
  for (const auto extra : {1, 7, 4096}) {
    EXPECT_NE(error_of(good + std::string(static_cast<std::size_t>(extra), '\0')), "no error");
  }
  std::uint64_t header_size = 0;
  std::memcpy(&header_size, good.data(), 8);
  for (std::size_t place = 0; place < 8 + header_size; ++place) {
    for (const int bit : {place < 8 ? 3 : 1, 6}) {
      auto bytes = good;
      bytes[place] = static_cast<char>(bytes[place] ^ (1 << bit));
      attempt(bytes);
    }
  }
  std::mt19937_64 random(9);
  for (int round = 0; round < 600; ++round) {
    auto bytes = good;
    for (auto changes = random() % 4 + 1; changes > 0; --changes) {
      const auto place = random() % (8 + header_size);
      switch (random() % 4) {
        case 0:
          bytes[place] = static_cast<char>(random());
          break;
        case 1:
          bytes[place] = "0123456789-\"[]{},:e."[random() % 20];
          break;
        case 2:
          bytes.erase(place, random() % 9);
          break;
        default:
          bytes.insert(place, bytes.substr(random() % good.size() / 2, random() % 9));
      }
    }
    attempt(bytes);
  }
  EXPECT_GT(refused, tried * 3 / 4);
  EXPECT_LT(peak() - before, 64 * 1024) << "kB";
}

json tokenizer() { return {{"name", "bytes"}, {"hash", "0123"}}; }

class ModelFolder : public ModelFile {
 protected:
  ModelFolder() { save_model(folder_, model_, tokenizer(), {{"train", {{"steps", 3}}}, {"seed", 4}}); }
  void expect_model_refused(const std::string& part) const {
    const auto message = error_of_model();
    EXPECT_NE(message.find(part), std::string::npos) << "got: " << message << "\nexpected: " << part;
  }
  void change_config(const std::function<void(json&)>& change) const {
    auto config = read_json(folder_ / "config.json");
    change(config);
    put(config.dump(), "config.json");
  }
  void change_tensors(const std::function<void(TensorFile&)>& change) const {
    auto file = read_safetensors(folder_ / "model.safetensors");
    change(file);
    write_safetensors(folder_ / "model.safetensors", file);
  }
  const LanguageModel model_ = lively_model(linformer_form("running", 45, 7, 5, Sharing::headwise).config, at::kFloat);
};

TEST_F(ModelFolder, LoadsWhatWasSaved) {
  const auto loaded = load_model(folder_);
  EXPECT_EQ(loaded.model.config(), model_.config());
  EXPECT_EQ(loaded.tokenizer, tokenizer());
  EXPECT_EQ(loaded.config["seed"], 4);
  for (std::size_t i = 0; i < model_.parameters().size(); ++i) {
    EXPECT_EQ(loaded.model.parameters()[i].first, model_.parameters()[i].first);
    EXPECT_TRUE(loaded.model.parameters()[i].second.equal(model_.parameters()[i].second));
    EXPECT_TRUE(loaded.model.parameters()[i].second.requires_grad());
  }
}

TEST_F(ModelFolder, WeightsAreFloat32WhateverTheModelWas) {
  save_model(folder_, lively_model(model_.config(), at::kDouble), tokenizer());
  EXPECT_EQ(load_model(folder_).model.output_weight().scalar_type(), at::kFloat);
}

TEST_F(ModelFolder, EveryFormComesBack) {
  for (const auto& form :
       {softmax_form(), linformer_form("block", 48, 6, 2, Sharing::layerwise, Summary::block, Projection::dynamic),
        linformer_form("block", 48, 6, 2, Sharing::none, Summary::block, Projection::convolution),
        linformer_form("prefix", 45, 0, 5, Sharing::layerwise),
        hybrid(by_layer(linformer_form("running", 45, 7, 5, Sharing::layerwise), {0, 5}), {0})}) {
    const auto model = lively_model(form.config, at::kFloat);
    save_model(folder_, model, tokenizer());
    const auto ids_BN = random_ids({1, 40}, 19);
    EXPECT_TRUE(load_model(folder_).model.logits(ids_BN).equal(model.logits(ids_BN))) << form.name;
  }
}

TEST_F(ModelFolder, RefusesWrongTensors) {
  const std::string name = "blocks.1.feed_forward.up.bias";
  const auto replace = [&](const at::Tensor& value) {
    change_tensors([&](TensorFile& file) {
      for (auto& [known, tensor] : file.tensors) {
        if (known == name) tensor = value;
      }
    });
  };
  for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    auto value = at::zeros({14});
    value[13] = bad;
    replace(value);
    expect_model_refused("'" + name + "' holds NaN or infinity");
  }
  replace(at::zeros({15}));
  expect_model_refused("'" + name + "' has shape [15], config.json needs [14]");
  replace(at::zeros({14, 1}));
  expect_model_refused("'" + name + "' has shape");
  for (const auto dtype : {at::kDouble, at::kBFloat16, at::kHalf, at::kLong, at::kBool}) {
    replace(at::zeros({14}, dtype));
    expect_model_refused("'" + name + "' is ");
    expect_model_refused("expected float32");
  }
  replace(at::zeros({14}));
  EXPECT_EQ(error_of_model(), "no error");
  change_tensors([](TensorFile& file) { file.tensors.emplace_back("more", at::ones({1})); });
  expect_model_refused("'more' belongs to no part");
  change_tensors([](TensorFile& file) { file.tensors.erase(file.tensors.end() - 2, file.tensors.end()); });
  expect_model_refused("is missing");
}

TEST_F(ModelFolder, RefusesWrongConfigs) {
  const auto good = read_file(folder_ / "config.json");
  const auto refused = [&](const std::function<void(json&)>& change, const std::string& part) {
    put(good, "config.json");
    change_config(change);
    expect_model_refused(part);
  };
  refused([](json& c) { c["format_version"] = 2; }, "format_version");
  refused([](json& c) { c.erase("format_version"); }, "format_version");
  refused([](json& c) { c.erase("attention"); }, "expected the sections");
  refused([](json& c) { c["modle"] = 3; }, "modle");
  refused([](json& c) { c["extra"] = json::object(); }, "unknown section extra");
  refused([](json& c) { c["model"]["widht"] = 12; }, "widht");
  refused([](json& c) { c["model"]["width"] = "12"; }, "model.width");
  refused([](json& c) { c["model"]["width"] = 13; }, "model.heads");
  refused([](json& c) { c["attention"]["slots"] = 46; }, "slots");
  refused([](json& c) { c["attention"]["slots"] = 6; }, "has shape");
  refused([](json& c) { c["attention"]["kind"] = "softmax"; }, "belongs to no part");
  refused([](json& c) { c = json::array(); }, "format_version");
  put("{", "config.json");
  expect_model_refused("not valid JSON");
  put(good, "config.json");
  put("{", "tokenizer.json");
  expect_model_refused("not valid JSON");
}

TEST_F(ModelFolder, RefusesFoldersThatHoldNoModel) {
  EXPECT_NE(message_of([&] { load_model(folder_ / "none"); }).find("expected a run or checkpoint folder"),
            std::string::npos);
  EXPECT_NE(message_of([&] { load_model(folder_ / "config.json"); }).find("expected a run or checkpoint folder"),
            std::string::npos);
  fs::remove(folder_ / "model.safetensors");
  expect_model_refused("model.safetensors");
  fs::remove(folder_ / "config.json");
  expect_model_refused("config.json");
  EXPECT_NE(message_of([&] { save_model(folder_, model_, {{"name", "bytes"}}); }).find("hash"), std::string::npos);
}

// A model of sizes that no memory holds is refused by the weights, which are read first, not by an allocation.
TEST_F(ModelFolder, AHugeConfigAllocatesNothing) {
  change_config([](json& c) { c["model"]["vocabulary"] = 1 << 30; });
  EXPECT_NE(error_of_model(), "no error");
  change_config([](json& c) { c["model"]["layers"] = 1 << 20; });
  EXPECT_NE(error_of_model(), "no error");
}

TEST_F(ModelFolder, DamagedWeightsNeverCrash) {
  const auto good = read_file(folder_ / "model.safetensors");
  std::mt19937_64 random(2);
  for (int round = 0; round < 100; ++round) {
    auto bytes = good;
    bytes[random() % (round % 2 == 0 ? 2000 : good.size())] = static_cast<char>(random());
    if (round % 5 == 0) bytes.resize(random() % bytes.size());
    put(bytes, "model.safetensors");
    error_of_model();  // anything but a UserError ends the test
  }
}

}  // namespace
}  // namespace linformer
