#include "data_pipeline/text/story_generator.hpp"

#include <array>
#include <cctype>
#include <span>
#include <string_view>
#include <utility>

namespace kangpt::data {
namespace {

using Words = std::span<const std::string_view>;

struct Person {
  std::string_view name, he, his, him, kind;
};

constexpr std::array<Person, 16> kChildren = {{{"Lily", "she", "her", "her", "girl"},
                                               {"Tom", "he", "his", "him", "boy"},
                                               {"Mia", "she", "her", "her", "girl"},
                                               {"Ben", "he", "his", "him", "boy"},
                                               {"Anna", "she", "her", "her", "girl"},
                                               {"Sam", "he", "his", "him", "boy"},
                                               {"Lucy", "she", "her", "her", "girl"},
                                               {"Max", "he", "his", "him", "boy"},
                                               {"Ella", "she", "her", "her", "girl"},
                                               {"Tim", "he", "his", "him", "boy"},
                                               {"Sue", "she", "her", "her", "girl"},
                                               {"Jack", "he", "his", "him", "boy"},
                                               {"Rosie", "she", "her", "her", "rabbit"},
                                               {"Bobo", "he", "his", "him", "bear"},
                                               {"Kitty", "she", "her", "her", "cat"},
                                               {"Rex", "he", "his", "him", "dog"}}};
constexpr std::array<std::string_view, 12> kPlaces = {
    "the park", "the forest", "the beach",    "the garden",     "the big hill", "the river",
    "the farm", "the market", "the old barn", "the playground", "the lake",     "the village square"};
constexpr std::array<std::string_view, 16> kThings = {"ball",    "kite",   "boat",   "book",    "hat",   "drum",
                                                      "cake",    "flower", "lamp",   "blanket", "shell", "stone",
                                                      "toy car", "bell",   "basket", "balloon"};
constexpr std::array<std::string_view, 12> kColours = {"red", "blue", "green", "yellow", "shiny", "tiny",
                                                       "big", "soft", "old",   "pretty", "round", "golden"};
constexpr std::array<std::string_view, 8> kNatures = {"little", "kind",   "brave", "curious",
                                                      "happy",  "clever", "shy",   "cheerful"};
constexpr std::array<std::string_view, 8> kWeathers = {
    "The sun was warm and bright.", "It was a windy day.",          "The sky was blue.",
    "Soft rain was falling.",       "The birds were singing.",      "There were white clouds in the sky.",
    "It was a cold morning.",       "The air smelled like flowers."};
constexpr std::array<std::string_view, 8> kHelpers = {"an old man",   "a friendly duck",  "a little mouse",
                                                      "a wise owl",   "a kind lady",      "a small squirrel",
                                                      "a funny frog", "a big brown horse"};
constexpr std::array<std::string_view, 8> kHidingPlaces = {"under a bush",   "behind a tall tree", "on top of a fence",
                                                           "next to a rock", "in the long grass",  "under a bench",
                                                           "near the water", "behind a door"};
constexpr std::array<std::string_view, 6> kOpenings = {
    "Once upon a time, there was a {nature} {kind} named {name}.",
    "One day, a {nature} {kind} named {name} woke up early.",
    "There once was a {nature} {kind}. {His} name was {name}.",
    "{Name} was a {nature} {kind} who lived near {place}.",
    "Once there was a {kind} called {name}. {Name} was very {nature}.",
    "In a small town, there lived a {nature} {kind} named {name}."};
constexpr std::array<std::string_view, 6> kWishes = {
    "{Name} loved {his} {colour} {thing} more than anything.",
    "{Name} had a {colour} {thing}. {He} took it everywhere.",
    "Every day, {name} played with {his} {colour} {thing}.",
    "{His} mom gave {him} a {colour} {thing}, and {he} was very proud of it.",
    "{Name} found a {colour} {thing} in the attic, and {he} smiled.",
    "On {his} birthday, {name} got a {colour} {thing}."};
constexpr std::array<std::string_view, 6> kTrips = {
    "{weather} {Name} went to {place} with {his} friend {friend}.",
    "One morning, {name} and {friend} walked to {place}. {weather}",
    "\"Let's go to {place}!\" said {friend}. {Name} nodded and they ran all the way. {weather}",
    "{weather} {Name} asked, \"{Friend}, do you want to come to {place} with me?\" \"Yes, please!\" said {friend}.",
    "{Name} met {friend} at {place}. {weather}",
    "That day, {name} took the {thing} to {place}. {friend} was there too. {weather}"};
constexpr std::array<std::string_view, 6> kTroubles = {
    "But then the {thing} was gone! {Name} looked everywhere, but {he} could not find it. {He} started to cry.",
    "Suddenly, the wind blew the {thing} away. \"Oh no!\" said {name}. \"My {thing}!\"",
    "{Name} and {friend} both wanted the {colour} {thing}. \"It is mine!\" said {name}. {friend} was sad.",
    "Then {name} fell down and dropped the {thing}. {He} was not hurt, but the {thing} rolled away.",
    "A big dog came and took the {thing}. {Name} was scared and hid behind {friend}.",
    "{Name} put the {thing} down to play. When {he} came back, the {thing} was not there. \"Where is my {thing}?\" "
    "{he} asked."};
constexpr std::array<std::string_view, 6> kHelp = {
    "Then they met {helper}. \"Why are you sad?\" asked {the_helper}. \"I lost my {thing},\" said {name}. \"Don't "
    "worry, I "
    "will help you,\" said {the_helper}.",
    "\"Don't be sad,\" said {friend}. \"We can look for it together.\" They asked {helper} for help.",
    "{Helper} saw them and said, \"I saw a {colour} {thing} {hiding}!\" They thanked {the_helper} and ran there.",
    "{friend} had an idea. \"Let's ask {helper},\" {friend} said. So they did. {The_helper} pointed and said, \"Look "
    "{hiding}.\"",
    "They looked and looked. At last {helper} called, \"Come here! Is this your {thing}?\"",
    "{Name} took a deep breath. \"I can be brave,\" {he} said. {Helper} smiled and showed {him} the way."};
constexpr std::array<std::string_view, 6> kSolutions = {
    "They found the {colour} {thing} {hiding}. {Name} was so happy that {he} jumped up and down.",
    "And there it was, {hiding}! {Name} hugged the {thing} and said, \"Thank you!\"",
    "{Name} saw the {thing} {hiding}. {He} picked it up and gave {friend} a big hug.",
    "The {thing} was {hiding}. It was a bit dirty, but {name} did not mind.",
    "{friend} found the {thing} {hiding} and gave it back. \"You are my best friend,\" said {name}.",
    "\"Here is the {thing}!\" shouted {friend}. It was {hiding}. They laughed and danced."};
constexpr std::array<std::string_view, 8> kEndings = {
    "From that day on, {name} always shared {his} {thing} with {friend}.",
    "{Name} learned that it is good to ask for help. They all lived happily ever after.",
    "They played until the sun went down. Then {name} went home and told {his} mom about the day.",
    "That night, {name} slept with the {thing} next to {his} bed. The end.",
    "{Name} and {friend} were tired but happy. They knew that friends help each other.",
    "\"Sharing is fun,\" said {name}. And {friend} said, \"Yes, it is!\"",
    "{Name} thanked {the_helper} and promised to be more careful.",
    "After that, {name} and {friend} went to {place} every day and played with the {thing}."};

// SplitMix64 (Steele, Lea and Flood, 2014): the same numbers on every machine.
class Random {
 public:
  explicit Random(std::uint64_t state) : state_(state) {}
  std::uint64_t next() {
    std::uint64_t value = state_ += 0x9E3779B97F4A7C15U;
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9U;
    value = (value ^ (value >> 27)) * 0x94D049BB133111EBU;
    return value ^ (value >> 31);
  }
  std::string_view choose(Words words) { return words[(next() >> 32) % words.size()]; }

 private:
  std::uint64_t state_;
};

struct Cast {
  Person hero;
  std::string_view friend_name, place, thing, colour, nature, weather, helper, hiding;

  std::string value(std::string_view field) const {
    const std::array<std::pair<std::string_view, std::string_view>, 13> values = {{{"name", hero.name},
                                                                                   {"he", hero.he},
                                                                                   {"his", hero.his},
                                                                                   {"him", hero.him},
                                                                                   {"kind", hero.kind},
                                                                                   {"friend", friend_name},
                                                                                   {"place", place},
                                                                                   {"thing", thing},
                                                                                   {"colour", colour},
                                                                                   {"nature", nature},
                                                                                   {"weather", weather},
                                                                                   {"helper", helper},
                                                                                   {"hiding", hiding}}};
    for (const auto& [name, value] : values) {
      if (name == field) return std::string(value);
    }
    return "the" + std::string(helper.substr(helper.find(' ')));  // the_helper
  }
};

Cast make_cast(Random& random) {
  const std::uint64_t hero = (random.next() >> 32) % kChildren.size();
  const std::uint64_t other = (hero + 1 + (random.next() >> 32) % (kChildren.size() - 1)) % kChildren.size();
  return {kChildren[hero],          kChildren[other].name,   random.choose(kPlaces),
          random.choose(kThings),   random.choose(kColours), random.choose(kNatures),
          random.choose(kWeathers), random.choose(kHelpers), random.choose(kHidingPlaces)};
}

// Replaces {field} by its value, and {Field} by its value with a capital.
void append_filled(std::string_view sentence, const Cast& cast, std::string& text) {
  while (!sentence.empty()) {
    const std::size_t open = sentence.find('{');
    text += sentence.substr(0, open);
    if (open == std::string_view::npos) return;
    const std::size_t close = sentence.find('}', open);
    std::string field(sentence.substr(open + 1, close - open - 1));
    const bool capital = std::isupper(static_cast<unsigned char>(field[0])) != 0;
    field[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(field[0])));
    std::string value = cast.value(field);
    if (capital) value[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(value[0])));
    text += value;
    sentence.remove_prefix(close + 1);
  }
}

}  // namespace

std::string make_story(std::uint64_t seed, std::uint64_t index) {
  Random random(Random(seed).next() ^ (index * 0xD1B54A32D192ED03U));
  const Cast cast = make_cast(random);
  std::string text;
  append_filled(random.choose(kOpenings), cast, text);
  text += ' ';
  append_filled(random.choose(kWishes), cast, text);
  text += '\n';
  append_filled(random.choose(kTrips), cast, text);
  for (const Words part : {Words(kTroubles), Words(kHelp), Words(kSolutions), Words(kEndings)}) {
    text += random.next() % 3 == 0 ? '\n' : ' ';
    append_filled(random.choose(part), cast, text);
  }
  return text;
}

}  // namespace kangpt::data
