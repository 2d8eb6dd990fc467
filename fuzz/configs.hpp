// Fields out of a file, through all that the program does with them.
#pragma once

#include <iterator>
#include <vector>

#include "fuzz.hpp"
#include "linformer/config/io.hpp"

namespace linformer::fuzz {

struct Configs {
  ModelConfig model;
  TrainConfig train;
  SamplingConfig sampling;
  DataConfig data;

  std::vector<FieldHandle> fields() {
    auto all = fields_of(model);
    for (auto more : {fields_of(train), fields_of(sampling), fields_of(data)}) {
      all.insert(all.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
    }
    return all;
  }
};

/// Sets fields from `object` and checks them; what they hold must come back from the JSON and from the text that they
/// are written as.
inline void read_fields(const json& object) {
  Configs read;
  from_json(read.fields(), object, "input", {"format_version", "tokenizer", "seed"});
  Configs copy, typed;
  const auto written = to_json(read.fields());
  from_json(copy.fields(), parse_json(dump(written), "copy"), "copy");
  const auto fields = read.fields();
  auto typed_fields = typed.fields();
  for (std::size_t i = 0; i < fields.size(); ++i) {
    // On the command line a list of text is one flag an element.
    if (fields[i].name != "generate.stop") typed_fields[i].parse(fields[i].text());
  }
  typed.sampling.stop = read.sampling.stop;
  expect(dump(to_json(copy.fields())) == dump(written), "fields change on their way through JSON");
  expect(dump(to_json(typed.fields())) == dump(written), "fields change on their way through text");
  const auto model = resolved(read.model);
  check(read.train);
  check(read.sampling);
  check(read.data, model.length);
}

}  // namespace linformer::fuzz
