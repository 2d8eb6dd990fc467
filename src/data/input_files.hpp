// Which files a list of inputs means.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "linformer/data/prepare.hpp"

namespace linformer {

struct InputFiles {
  std::vector<std::string> files;  ///< "-": standard input
  std::vector<LeftOut> left_out;
};

/// Files and "-" as they are; of each folder the text files at any depth, sorted by path. What is left out of a folder:
/// hidden files and folders; what is no text; links to folders; `out`, which prepare() is to write; and what the
/// program wrote (config/output_folder.hpp). An input folder that is such a one is left out
/// whole. UserError when an input is missing, a folder holds no text, or nothing is left to read.
InputFiles find_input_files(const std::vector<std::string>& inputs, const std::filesystem::path& out,
                            const std::string& flag = "--input");

}  // namespace linformer
