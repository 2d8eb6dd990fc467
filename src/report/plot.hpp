// What a picture shows, and its gnuplot script.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "linformer/core/json_fwd.hpp"

namespace linformer::report {

struct Line {
  std::string title, colour;
  bool dashed = false, dots = false;
  std::vector<std::array<double, 2>> points;
  int mark = 0;  ///< which shape its dots have
  double width = 2;
};

/// A dashed upright with a word beside it, such as where two lines cross.
struct Upright {
  double x;
  std::string label;
};

/// A mean with its range over seeds.
struct Bar {
  std::string label;
  double mean, low, high;
};

struct Plot {
  std::string name;  ///< of its files
  std::string x, y;
  bool log_x = false, log_y = false;
  std::vector<Line> lines;
  std::vector<Bar> bars;  ///< instead of lines
  std::vector<Upright> uprights = {};
  std::array<double, 2> y_range = {};  ///< both 0: all that is drawn
};

/// The script that writes NAME.svg, NAME.png and NAME.pdf into the working folder.
std::string script_of(const Plot& plot);

/// Letters, digits and - alone, for the name of a file.
std::string file_name_of(const std::string& text);

/// The plots that a document holds.
std::vector<Plot> plots_of(const json& document);

}  // namespace linformer::report
