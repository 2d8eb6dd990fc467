#include "report/plot.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <limits>

#include "linformer/core/format.hpp"

namespace linformer::report {
namespace {

// In single quotes gnuplot substitutes nothing; a quote is doubled, and line ends would end the command.
std::string gnuplot_text(std::string text) {
  std::ranges::replace_if(text, [](unsigned char c) { return c < ' '; }, ' ');
  std::string result = "'";
  for (const char c : text) result += c == '\'' ? std::string("''") : std::string(1, c);
  return result + "'";
}

// Ticks at 1, 2 and 5 of each power of ten, or at powers alone where those are too many, as in the page
// (src/report/page/charts.js): gnuplot's own begin and end at powers.
std::string log_y_of(const Plot& plot) {
  double low = std::numeric_limits<double>::infinity(), high = 0;
  for (const auto& line : plot.lines) {
    for (const auto& [x, y] : line.points) low = std::min(low, y), high = std::max(high, y);
  }
  if (!(low > 0 && low <= high)) return "set logscale y\n";
  constexpr std::array kDigits{1, 2, 5};
  const auto tick = [&](int i) {
    return kDigits[static_cast<std::size_t>(i % 3 + 3) % 3] * std::pow(10.0, std::floor(i / 3.0));
  };
  int first = 3 * static_cast<int>(std::floor(std::log10(low)));
  while (tick(first + 1) <= low) ++first;
  int last = first + 1;
  while (tick(last) < high) ++last;
  std::string ticks;
  for (int i = first; i <= last; ++i) {
    if (last - first < 8 || i % 3 == 0) ticks += formatted("{0}'{1:.6g}' {1:.6g}", ticks.empty() ? "" : ", ", tick(i));
  }
  return formatted("set logscale y\nset yrange [{:.6g}:{:.6g}]\nset ytics ({})\n", tick(first), tick(last), ticks);
}

std::string head_of(const Plot& plot) {
  std::string script =
      "set encoding utf8\nset border 3 lc rgb '#5a6673'\nset tics nomirror\nset grid lc rgb '#d3d9e0' lw 0.5\nset "
      "style fill solid 0.85 noborder\n";
  script += formatted("set xlabel {}\nset ylabel {}\n", gnuplot_text(plot.x), gnuplot_text(plot.y));
  script += "set key outside top center horizontal Left reverse samplen 2 width 2\n";
  if (plot.log_x) script += "set logscale x 2\nset format x '%.0f'\n";
  if (plot.log_y) script += log_y_of(plot);
  // Gnuplot would go on to a round number beyond the last point.
  if (!plot.lines.empty()) script += "set autoscale xfix\n";
  if (plot.y_range[1] > plot.y_range[0])
    script += formatted("set yrange [{:.8g}:{:.8g}]\n", plot.y_range[0], plot.y_range[1]);
  // Words where lines leave room: against N they rise from the lower left, spectra come from the upper left.
  const auto* place = plot.log_y ? "graph 0.97 right" : "graph 0.03 left";
  for (const auto& [x, label] : plot.uprights) {
    script += formatted(
        "set arrow from {0:.8g}, graph 0 to {0:.8g}, graph 1 nohead dt 3 lc rgb '#5a6673'\nset label {1} at {0:.8g}, "
        "{2} rotate by 90 offset 0.7,0 tc rgb '#5a6673'\n",
        x, gnuplot_text(label), place);
  }
  return script;
}

// Gnuplot's numbers: disc, square, triangle up, diamond, triangle down, then open ones.
constexpr std::array kMarks{7, 5, 9, 13, 11, 6, 4, 8};

std::string lines_of(const Plot& plot) {
  std::string script, command = "plot";
  for (std::size_t i = 0; i < plot.lines.size(); ++i) {
    const auto& line = plot.lines[i];
    script += formatted("$line{} << END\n", i);
    for (const auto& [x, y] : line.points) script += formatted("{:.8g} {:.8g}\n", x, y);
    script += "END\n";
    command +=
        formatted("{} $line{} using 1:2 with {} lc rgb '{}' lw {} dt {}{} title {}", i == 0 ? "" : ", \\\n ", i,
                  line.dots ? "linespoints" : "lines", line.colour, line.width, line.dashed ? 2 : 1,
                  line.dots ? formatted(" pt {} ps {}", kMarks[static_cast<std::size_t>(line.mark) % kMarks.size()],
                                        line.mark == 0 ? 0.5 : 0.9)
                            : "",
                  gnuplot_text(line.title));
  }
  return script + command + "\n";
}

// A row each, so that long names of many points stay apart.
std::string bars_of(const Plot& plot) {
  std::string script = "$bars << END\n", ticks;
  double least = plot.bars.front().low, most = plot.bars.front().high;
  for (std::size_t i = 0; i < plot.bars.size(); ++i) {
    const auto& bar = plot.bars[i];
    script += formatted("{:.8g} {} {:.8g} {:.8g}\n", bar.mean, i, bar.low, bar.high);
    ticks += formatted("{}{} {}", i == 0 ? "" : ", ", gnuplot_text(bar.label), i);
    least = std::min(least, bar.low);
    most = std::max(most, bar.high);
  }
  // Bars would have to begin at 0, where differences between losses can't be seen; dots needn't.
  const double margin = most > least ? 0.15 * (most - least) : 0.1;
  return script + formatted(
                      "END\nset ytics ({})\nset yrange [{}:-0.6]\nset xrange [{:.8g}:{:.8g}]\nset xlabel {}\nunset "
                      "ylabel\nunset key\n"
                      "plot $bars using 1:2:3:4 with xerrorbars lc rgb '#2257cf' lw 2 pt 7 ps 1\n",
                      ticks, static_cast<double>(plot.bars.size()) - 0.4, least - margin, most + margin,
                      gnuplot_text(plot.y));
}

}  // namespace

std::string file_name_of(const std::string& text) {
  std::string name;
  for (const unsigned char c : text) {
    if (std::isalnum(c) && c < 128) {
      name += static_cast<char>(std::tolower(c));
    } else if (!name.empty() && name.back() != '-') {
      name += '-';
    }
  }
  while (!name.empty() && name.back() == '-') name.pop_back();
  return name.empty() ? "picture" : name.substr(0, 60);
}

std::string script_of(const Plot& plot) {
  const auto height = std::max<std::size_t>(460, 80 + 18 * plot.bars.size());
  const auto set = [&](const std::string& terminal, const char* ending) {
    return formatted("set terminal {}\nset output '{}.{}'\n", terminal, plot.name, ending);
  };
  // noenhanced: names hold _ and ^, which are no sub- and superscripts.
  return set(formatted("svg noenhanced size 720,{} background rgb 'white' font 'Helvetica,13'", height), "svg") +
         head_of(plot) + (plot.bars.empty() ? lines_of(plot) : bars_of(plot)) +
         set(formatted("pngcairo noenhanced size 1440,{} font 'Sans,22' linewidth 2 pointscale 2", 2 * height), "png") +
         "replot\n" +
         set(formatted("pdfcairo noenhanced size 16cm,{:.3g}cm font 'Sans,11'",
                       16.0 * static_cast<double>(height) / 720),
             "pdf") +
         "replot\nunset output\n";
}

}  // namespace linformer::report
