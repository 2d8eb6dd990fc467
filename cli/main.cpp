// The program: parses the command line, runs one verb, turns errors into messages and exit statuses.
#include <csignal>
#include <iostream>
#include <stdexcept>
#include <string>

#include "linformer/core/error.hpp"
#include "linformer/core/memory.hpp"
#include "memory.hpp"
#include "verbs.hpp"

namespace {

int report(const std::string& message, int status) {
  std::cerr << "linformer: error: " << message << '\n';
  return status;
}

int run(int argc, char** argv) {
  using namespace linformer;
  CLI::App app{"Linformer and Transformer language models: prepare text, train, evaluate, generate", "linformer"};
  app.set_version_flag("--version", "linformer " LINFORMER_VERSION);
  app.require_subcommand(1);
  cli::add_prepare(app);
  cli::add_tokenize(app);
  cli::add_train(app);
  cli::add_evaluate(app);
  cli::add_generate(app);
  cli::add_logits(app);
  cli::add_benchmark(app);
  cli::add_ablate(app);
  cli::add_audit(app);
  cli::add_inspect(app);
  cli::add_report(app);
  cli::add_watch(app);
  cli::add_info(app);
  cli::check_numbers(app);
  try {
    app.parse(argc, argv);
    cli::flush();
    return 0;
  } catch (const CLI::Success& asked) {  // --help and --version
    app.exit(asked);
    return std::cout.flush() ? 0 : report("standard output can't be written", 2);
  } catch (const CLI::ParseError& error) {
    return report(cli::command_line_error(app, error), 2);
  } catch (const cli::Exit& exit) {
    return exit.status;
  } catch (const UserError& error) {
    return report(error.what(), 2);
  } catch (const std::exception& error) {
    if (is_out_of_memory(error.what())) return report(cli::out_of_memory(app, error.what()), 2);
    // A size that no address can hold, or a mistake of the program: its own words are kept.
    if (dynamic_cast<const std::length_error*>(&error) != nullptr)
      return report(cli::out_of_memory(app, error.what()) + " (" + error.what() + ")", 2);
    // LibTorch appends a backtrace; its first line says what happened.
    const std::string text = error.what();
    return report(text.substr(0, text.find('\n')), 1);
  }
}

}  // namespace

int main(int argc, char** argv) {
  linformer::cli::keep_freed_memory();
  // A full disk, a file-size limit and a closed pipe must arrive as errors of the write. They must not end the process.
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
  return run(argc, argv);
}
