// Steps of Adam against float64, over every instruction set.
#include "adamw/adamw.h"

#include "common/testing.h"

namespace kerasllm::testing {
namespace {

struct State {
  std::vector<double> parameter, momentum, velocity;
};

// One step in float64; `factor` is that of clipping.
void reference_step(State* state, const Buffer<float>& gradients, const AdamwStep& step,
                    bool decays, double multiplier, double factor) {
  for (size_t i = 0; i < state->parameter.size(); ++i) {
    double &p = state->parameter[i], &m = state->momentum[i], &v = state->velocity[i];
    const double g = gradients[static_cast<int64_t>(i)] * factor;
    if (decays) p -= p * step.weight_decay * step.learning_rate * multiplier;
    m += (g - m) * step.momentum_rate;
    v += (g * g - v) * step.velocity_rate;
    p -= m * step.alpha * multiplier / (std::sqrt(v) + step.epsilon);
  }
}

// Momentum, velocity and parameters after one step of parameters of these sizes, on `threads`.
// in_place: the new values overwrite the old ones; else they go elsewhere.
struct Result {
  std::vector<Buffer<float>> parameter, momentum, velocity;
};

float multiplier_of(size_t index) { return 1.0f / static_cast<float>(1 + index % 3); }

void check(Isa isa, const std::vector<int64_t>& sizes, float weight_decay, float clipnorm,
           bool in_place) {
  override_isa(isa);
  std::string text = std::string("isa=") + isa_name(isa) + " sizes=";
  for (const int64_t size : sizes) text += std::to_string(size) + ",";
  text += " weight_decay=" + std::to_string(weight_decay) +
          " clipnorm=" + std::to_string(clipnorm) + (in_place ? " in place" : "");
  const AdamwStep step = {1e-2f, 3e-2f, 0.1f, 0.001f, 1e-7f, weight_decay, clipnorm};
  const auto buffers = [&] {
    std::vector<Buffer<float>> result;
    for (const int64_t size : sizes) result.emplace_back(size);
    return result;
  };
  std::vector<Result> results;
  std::vector<Buffer<float>> gradients;
  for (int threads = 1; threads <= 4; ++threads) {
    std::mt19937 random(11);
    gradients = buffers();
    Result old = {buffers(), buffers(), buffers()}, fresh = {buffers(), buffers(), buffers()};
    std::vector<State> states;
    std::vector<AdamwParameter> parameters;
    double squares = 0.0;
    for (size_t i = 0; i < sizes.size(); ++i) {
      gradients[i].fill(random, 1.0);
      old.parameter[i].fill(random, 1.0);
      old.momentum[i].fill(random, 0.1);
      old.velocity[i].fill(random, 0.1);
      for (int64_t k = 0; k < sizes[i]; ++k) {
        old.velocity[i].get()[k] = std::fabs(old.velocity[i].get()[k]);
        squares += gradients[i][k] * gradients[i][k];
      }
      states.push_back(
          {old.parameter[i].values(), old.momentum[i].values(), old.velocity[i].values()});
      Result& target = in_place ? old : fresh;
      parameters.push_back({sizes[i], old.parameter[i].get(), old.momentum[i].get(),
                            old.velocity[i].get(), target.parameter[i].get(),
                            target.momentum[i].get(), target.velocity[i].get(), gradients[i].get(),
                            nullptr, i % 2 == 0, multiplier_of(i)});
    }
    Threads parallel(threads);
    adamw(parameters.data(), static_cast<int64_t>(sizes.size()), step, parallel);
    results.push_back(in_place ? std::move(old) : std::move(fresh));
    const double norm = std::sqrt(squares);
    const double factor = clipnorm > 0 && norm > clipnorm ? clipnorm / norm : 1.0;
    for (size_t i = 0; i < sizes.size(); ++i) {
      reference_step(&states[i], gradients[i], step, i % 2 == 0, multiplier_of(i), factor);
      const Result &found = results.back(), &first = results[0];
      expect(found.parameter[i].error(states[i].parameter) < 2e-6, text + " parameter");
      expect(found.momentum[i].error(states[i].momentum) < 1e-6, text + " momentum");
      expect(found.velocity[i].error(states[i].velocity) < 2e-6, text + " velocity");
      expect(found.parameter[i].same_bits(first.parameter[i]) &&
                 found.momentum[i].same_bits(first.momentum[i]) &&
                 found.velocity[i].same_bits(first.velocity[i]),
             text + " differs by threads");
      expect(found.parameter[i].guards_intact() && found.momentum[i].guards_intact() &&
                 found.velocity[i].guards_intact(),
             text + " wrote outside a buffer");
    }
  }
}

// Parameters of which every other one is the master weights of a bfloat16 variable; some elements
// of that are not what the master rounds to. Threads and repeats give the same bits.
int check_master_weights(Isa isa, int repeats) {
  override_isa(isa);
  const std::string text = std::string("master weights, isa=") + isa_name(isa);
  const AdamwStep step = {1e-2f, 3e-2f, 0.1f, 0.001f, 1e-7f, 0.01f, 0.5f};
  const std::vector<int64_t> sizes = {59, 0, 33001, 1, 128};
  std::vector<std::vector<Buffer<float>>> found;
  std::vector<std::vector<Buffer<bfloat16>>> found_rounded;
  const int threads[] = {1, 2, 4};
  for (int run = 0; run < repeats; ++run) {
    std::mt19937 random(5);
    std::vector<Buffer<float>> parameter, momentum, velocity, gradient;
    std::vector<Buffer<bfloat16>> rounded, before;
    std::vector<State> states;
    std::vector<AdamwParameter> parameters;
    double squares = 0.0;
    for (const int64_t size : sizes) {
      for (auto* group : {&parameter, &momentum, &velocity, &gradient}) group->emplace_back(size);
      rounded.emplace_back(size);
    }
    for (size_t i = 0; i < sizes.size(); ++i) {
      parameter[i].fill(random, 1.0);
      momentum[i].fill(random, 0.1);
      velocity[i].fill(random, 0.1);
      gradient[i].fill(random, 1.0);
      State state = {parameter[i].values(), momentum[i].values(), velocity[i].values()};
      for (int64_t k = 0; k < sizes[i]; ++k) {
        velocity[i].get()[k] = std::fabs(velocity[i].get()[k]);
        state.velocity[k] = velocity[i][k];
        squares += gradient[i][k] * gradient[i][k];
        const bool assigned = i % 2 == 0 && k % 7 == 3;
        assign(rounded[i].get() + k, assigned ? 3.0 : parameter[i][k]);
        if (assigned) state.parameter[k] = 3.0;
      }
      states.push_back(state);
      const bool master = i % 2 == 0;
      parameters.push_back(
          {sizes[i], parameter[i].get(), momentum[i].get(), velocity[i].get(), parameter[i].get(),
           momentum[i].get(), velocity[i].get(), gradient[i].get(), nullptr, true, 1.0f,
           master ? rounded[i].get() : nullptr, master ? rounded[i].get() : nullptr});
    }
    before = rounded;
    Threads parallel(threads[run % 3]);
    adamw(parameters.data(), static_cast<int64_t>(sizes.size()), step, parallel);
    found.push_back(std::move(parameter));
    found_rounded.push_back(std::move(rounded));
    const double norm = std::sqrt(squares);
    for (size_t i = 0; i < sizes.size(); ++i) {
      const Buffer<float>& mine = found.back()[i];
      const Buffer<bfloat16>& mine_rounded = found_rounded.back()[i];
      expect(mine.same_bits(found[0][i]) && mine_rounded.same_bits(found_rounded[0][i]),
             text + " bits of run " + std::to_string(run));
      if (run > 0) continue;
      reference_step(&states[i], gradient[i], step, true, 1.0, step.global_clipnorm / norm);
      expect(mine.error(states[i].parameter) < 2e-6, text);
      expect(mine_rounded.guards_intact(), text + " wrote outside a buffer");
      if (i % 2 != 0) {
        expect(mine_rounded.same_bits(before[i]), text + " wrote where there is no master");
        continue;
      }
      Buffer<bfloat16> expected(sizes[i]);
      for (int64_t k = 0; k < sizes[i]; ++k) assign(expected.get() + k, mine[k]);
      expect(mine_rounded.same_bits(expected), text + " rounded");
    }
  }
  return repeats;
}

// Each operation is rounded by itself, so without clipping all instruction sets agree bit for bit;
// a fused multiply-add in one of them would show here.
int check_instruction_sets_agree() {
  constexpr int64_t kSize = 1000;
  const AdamwStep step = {1e-2f, 3e-2f, 0.1f, 0.001f, 1e-7f, 0.01f, 0.0f};
  std::vector<Buffer<float>> found;
  for_each_isa([&](Isa isa) {
    override_isa(isa);
    std::mt19937 random(3);
    Buffer<float> parameter(kSize), momentum(kSize), velocity(kSize);
    Buffer<bfloat16> gradient(kSize);
    parameter.fill(random, 1.0);
    momentum.fill(random, 0.1);
    gradient.fill(random, 1.0);
    for (int64_t i = 0; i < kSize; ++i) velocity.get()[i] = 0.001f * static_cast<float>(i);
    const AdamwParameter p = {
        kSize,          parameter.get(), momentum.get(), velocity.get(), parameter.get(),
        momentum.get(), velocity.get(),  nullptr,        gradient.get(), true};
    Serial serial;
    adamw(&p, 1, step, serial);
    found.push_back(std::move(parameter));
    expect(found.back().same_bits(found[0]), std::string("bits of isa ") + isa_name(isa));
  });
  return static_cast<int>(found.size());
}

void check_repeats(Isa isa) {
  override_isa(isa);
  constexpr int64_t kSizes[] = {70001, 97};
  const AdamwStep step = {1e-2f, 3e-2f, 0.1f, 0.001f, 1e-7f, 0.01f, 0.5f};
  std::mt19937 random(5);
  std::vector<Buffer<float>> state, results, gradients;
  std::vector<AdamwParameter> parameters;
  for (const int64_t size : kSizes) {
    gradients.emplace_back(size);
    gradients.back().fill(random, 1.0);
    for (int i = 0; i < 3; ++i) {
      state.emplace_back(size);
      state.back().fill(random, 0.1);
      results.emplace_back(size);
    }
    for (int64_t i = 0; i < size; ++i) {
      state.back().get()[i] = std::fabs(state.back().get()[i]);  // the velocity
    }
  }
  for (size_t i = 0; i < 2; ++i) {
    Buffer<float>*const old = &state[3 * i], *const fresh = &results[3 * i];
    parameters.push_back({kSizes[i], old[0].get(), old[1].get(), old[2].get(), fresh[0].get(),
                          fresh[1].get(), fresh[2].get(), gradients[i].get(), nullptr, true, 1.0f});
  }
  expect_repeatable(
      std::string("isa=") + isa_name(isa),
      [&](Parallel& parallel) { adamw(parameters.data(), 2, step, parallel); }, results[0],
      results[1], results[2], results[3], results[4], results[5]);
}

// A gradient that is not finite gives NaN everywhere under clipping, and no hang.
int check_not_finite() {
  override_isa(Isa::kGeneric);
  for (const float bad : {INFINITY, NAN}) {
    float parameter[3] = {1, 2, 3}, momentum[3] = {}, velocity[3] = {}, gradient[3] = {1, bad, 1};
    const AdamwParameter p = {3,        parameter, momentum, velocity, parameter,
                              momentum, velocity,  gradient, nullptr,  false};
    Serial serial;
    adamw(&p, 1, {0.1f, 0.1f, 0.1f, 0.1f, 1e-7f, 0.0f, 1.0f}, serial);
    expect(std::isnan(parameter[0]) && std::isnan(parameter[2]), "a norm that is not finite");
  }
  return 2;
}

int run_all() {
  int cases = check_instruction_sets_agree() + check_not_finite();
  for_each_isa([&](Isa isa) {
    cases += check_master_weights(isa, 100);
    check_repeats(isa);
    ++cases;
    for (const float weight_decay : {0.0f, 0.01f}) {
      for (const float clipnorm : {0.0f, 0.5f, 1e6f}) {
        check(isa, {1, 0, 59, 97, 128, 1025, 70001, 3, 4097}, weight_decay, clipnorm, true);
        check(isa, {32768, 32768, 17}, weight_decay, clipnorm, false);
        check(isa, {0}, weight_decay, clipnorm, false);
        cases += 3;
      }
    }
  });
  return finish("adamw_test", cases);
}

}  // namespace
}  // namespace kerasllm::testing

int main() { return kerasllm::testing::run_all(); }
