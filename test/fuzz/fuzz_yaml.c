/*
 * fuzz_yaml: of each stream that is accepted must hold: every document prints as YAML and as JSON, and both
 * read back as an equal value; a stream that is refused says why and where.
 */
#include "mutate.h"

#include "base/yaml.h"

static void check_document(const cJSON *document)
{
    auto_err error = NULL;
    auto_free char *json_text = json_print(document);
    auto_json from_json = json_parse(json_text, strlen(json_text), &error);
    must(json_equal(document, from_json));
    auto_free char *yaml_text = yaml_print(document);
    auto_json from_yaml = yaml_parse(yaml_text, strlen(yaml_text), &error);
    if (!json_equal(document, from_yaml))
        fprintf(stderr, "%s\n%s\n%s\n", json_text, yaml_text, err_message(error));
    must(json_equal(document, from_yaml));
}

static bool check(const char *text, size_t len)
{
    auto_err error = NULL;
    auto_json documents = yaml_parse_all(text, len, &error);
    must((documents == NULL) == (error != NULL));
    if (!documents)
        must(strstr(err_message(error), "line"));
    json_each (document, documents)
        check_document(document);
    return documents != NULL;
}

int main(int argc, char **argv)
{
    static const char *const seeds[] = {
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n  labels: {app: x}\nspec:\n  containers:\n  - "
        "name: a\n"
        "    args: [\"-c\", 'echo hi']\n    ports:\n    - containerPort: 80\n",
        "data:\n  script: |\n    #!/bin/sh\n    echo hi\n  folded: >-\n    a\n    b\n\n    c\n  mode: 0644\n "
        " big: 9007199254740993\n",
        "base: &b {p: 1, q: [x, *y]}\nother:\n  <<: *b\n  q: !!str 2\n",
        "- &a [1, 2]\n- *a\n- ? k\n  : v\n- {<<: [{a: 1}, {b: 2}]}\n",
        "---\na: ~\n...\n---\n- yes\n- .5\n- 0x1F\n- 1_000\n- \"\\u00e9\\n\"\n--- |+\n x\n\n",
        "{\"a\": [1, 2.5, \"\\ud83d\\ude00\", null]}",
    };
    static const char *const tokens[] = {
        "\n",           "  ",   "- ",    ": ",    "? ",  "|",      ">-",        "&a ",
        "*a",           "<<: ", "{",     "}",     "[",   "]",      ",",         "'",
        "\"",           "\\",   "#",     "---\n", "...", "!!int ", "!!binary ", "!x ",
        "%YAML 1.1\n",  "\t",   "~",     "0o7",   "1e3", ".inf",   "\xc2\x85",  "\xe2\x80\xa8",
        "\xef\xbb\xbf", "\xff", "\\x00", "\r",    "-1",  "on",     "=",         "@"};
    struct fuzz_corpus corpus = {seeds, COUNT_OF(seeds), tokens, COUNT_OF(tokens)};
    return fuzz_main(argc, argv, &corpus, check);
}
