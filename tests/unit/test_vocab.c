/* Vocabularies: reading, both directions, JSON lines, and files made to break readers. */
#include "frontend/vocab.h"
#include "tests/unit/limited_allocator.h"
#include "tests/unit/temp_folder.h"

static veer_status_t read_bytes(const char *bytes, size_t size, veer_vocab_t *out) {
    write_file(temp_path("vocab.txt"), bytes, size);
    return veer_vocab_read(temp_path("vocab.txt"), veer_allocator_system(), out);
}

static const char plain[] = "PAD\nEND\nUNK\n.\nthe\ncaf\xc3\xa9\n\"a\\\nmill\n";

static void test_find(void **state) {
    (void)state;
    veer_vocab_t v;
    assert_ok(read_bytes(plain, strlen(plain), &v));
    assert_int_equal(v.count, 8);
    for (int64_t i = 0; i < v.count; i++) assert_int_equal(veer_vocab_find(&v, v.words[i], strlen(v.words[i])), i);
    assert_int_equal(veer_vocab_find(&v, "th", 2), VEER_TOKEN_UNKNOWN);
    assert_int_equal(veer_vocab_find(&v, "them", 4), VEER_TOKEN_UNKNOWN);
    assert_int_equal(veer_vocab_find(&v, "them", 3), 4);
    assert_int_equal(veer_vocab_find(&v, "", 0), VEER_TOKEN_UNKNOWN);
    veer_vocab_deinit(&v);
}

static void test_line_ends(void **state) {
    (void)state;
    veer_vocab_t v;
    static const char crlf[] = "PAD\r\nEND\r\nUNK\r\nlast"; /* and no end of the last line */
    assert_ok(read_bytes(crlf, sizeof crlf - 1, &v));
    assert_int_equal(v.count, 4);
    assert_string_equal(v.words[0], "PAD");
    assert_int_equal(veer_vocab_find(&v, "last", 4), 3);
    veer_vocab_deinit(&v);
}

static void test_many_words(void **state) {
    (void)state;
    enum { N = 20000 };
    static char text[N * 8];
    size_t size = 0;
    for (int i = 0; i < N; i++) size += (size_t)sprintf(text + size, "w%d\n", i);
    veer_vocab_t v;
    assert_ok(read_bytes(text, size, &v));
    char word[16];
    for (int i = 0; i < N; i++) assert_int_equal(veer_vocab_find(&v, word, (size_t)sprintf(word, "w%d", i)), i);
    for (int i = N; i < 2 * N; i++)
        assert_int_equal(veer_vocab_find(&v, word, (size_t)sprintf(word, "w%d", i)), VEER_TOKEN_UNKNOWN);
    veer_vocab_deinit(&v);
}

static void test_encode(void **state) {
    (void)state;
    veer_vocab_t v;
    int64_t tokens[6];
    assert_ok(read_bytes(plain, strlen(plain), &v));
    assert_ok(veer_vocab_encode(&v, "  the old\tmill . ", 6, tokens));
    assert_memory_equal(tokens, ((int64_t[]){4, 2, 7, 3, 0, 0}), sizeof tokens);
    assert_ok(veer_vocab_encode(&v, "", 6, tokens));
    assert_memory_equal(tokens, ((int64_t[6]){0}), sizeof tokens);
    assert_ok(veer_vocab_encode(&v, "the the", 2, tokens));
    assert_error(veer_vocab_encode(&v, "the the the", 2, tokens), VEER_ERR_CONFIG, "3 words, the input takes 2");
    veer_vocab_deinit(&v);
}

static void assert_decoded(const veer_vocab_t *v, const int64_t *tokens, int64_t count, const char *expected) {
    char *text;
    assert_ok(veer_vocab_decode(v, tokens, count, veer_allocator_system(), &text));
    assert_string_equal(text, expected);
    veer_free(veer_allocator_system(), text);
}

static void test_decode(void **state) {
    (void)state;
    veer_vocab_t v;
    char *text;
    assert_ok(read_bytes(plain, strlen(plain), &v));
    assert_decoded(&v, (int64_t[]){4, 0, 7, 2, 1, 4}, 6, "the mill UNK");
    assert_decoded(&v, (int64_t[]){1, 4}, 2, "");
    assert_decoded(&v, (int64_t[]){0, 0}, 2, "");
    assert_decoded(&v, NULL, 0, "");
    assert_decoded(&v, (int64_t[]){5}, 1, "caf\xc3\xa9");
    assert_error(veer_vocab_decode(&v, (int64_t[]){1, 8}, 2, veer_allocator_system(), &text), VEER_ERR_CONFIG,
                 "token 8");
    assert_error(veer_vocab_decode(&v, (int64_t[]){-1}, 1, veer_allocator_system(), &text), VEER_ERR_CONFIG,
                 "token -1");
    veer_vocab_deinit(&v);
}

static void test_json_line(void **state) {
    (void)state;
    veer_vocab_t v;
    char *line;
    assert_ok(read_bytes(plain, strlen(plain), &v));
    assert_ok(veer_vocab_json_line(&v, (int64_t[]){6, 5, 1, 0}, 4, UINT64_MAX, 12, veer_allocator_system(), &line));
    assert_string_equal(
        line, "{\"text\":\"\\\"a\\\\ caf\xc3\xa9\",\"tokens\":[6,5,1,0],\"seed\":18446744073709551615,\"index\":12}\n");
    veer_free(veer_allocator_system(), line);
    assert_ok(veer_vocab_json_line(&v, NULL, 0, 0, 0, veer_allocator_system(), &line));
    assert_string_equal(line, "{\"text\":\"\",\"tokens\":[],\"seed\":0,\"index\":0}\n");
    veer_free(veer_allocator_system(), line);
    assert_error(veer_vocab_json_line(&v, (int64_t[]){99}, 1, 0, 0, veer_allocator_system(), &line), VEER_ERR_CONFIG,
                 "token 99");
    veer_vocab_deinit(&v);
}

static void test_refused(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
        const char *part;
    } cases[] = {
        {"", 0, "0 words"},
        {"PAD\nEND\n", 8, "2 words"},
        {"PAD\nEND\nUNK\n\nthe\n", 17, "line 4 of the vocabulary is empty"},
        {"PAD\nEND\nUNK\n\r\n", 14, "line 4 of the vocabulary is empty"},
        {"PAD\nEND\nUNK\nEND\n", 16, "line 4 of the vocabulary repeats"},
        {"PAD\nEND\nUNK\na\0b\n", 16, "line 4 of the vocabulary is not UTF-8"},
        {"PAD\nEND\nUNK\n\xff\n", 14, "not UTF-8"},
        {"PAD\nEND\nUNK\n\xc3", 13, "not UTF-8"},               /* cut off */
        {"PAD\nEND\nUNK\n\xc0\x80\n", 15, "not UTF-8"},         /* overlong */
        {"PAD\nEND\nUNK\n\xed\xa0\x80\n", 16, "not UTF-8"},     /* a surrogate */
        {"PAD\nEND\nUNK\n\xf4\x90\x80\x80\n", 17, "not UTF-8"}, /* beyond Unicode */
    };
    veer_vocab_t v;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_error(read_bytes(cases[i].bytes, cases[i].size, &v), VEER_ERR_FILE, cases[i].part);
    assert_error(veer_vocab_read(temp_path("none"), veer_allocator_system(), &v), VEER_ERR_FILE, "No such file");
}

static void test_out_of_memory(void **state) {
    (void)state;
    write_file(temp_path("vocab.txt"), plain, strlen(plain));
    for (int budget = 0;; budget++) {
        int left = budget;
        veer_vocab_t v = {0};
        char *line = NULL;
        veer_allocator_t a = limited_allocator(&left);
        veer_status_t status = veer_vocab_read(temp_path("vocab.txt"), a, &v);
        if (!status) status = veer_vocab_json_line(&v, (int64_t[]){4, 5}, 2, 1, 2, a, &line);
        veer_vocab_deinit(&v);
        if (!status) {
            veer_free(a, line);
            assert_int_equal(budget, 5);
            return;
        }
        assert_error(status, VEER_ERR_RESOURCE, "memory");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_find),    cmocka_unit_test(test_line_ends),     cmocka_unit_test(test_many_words),
        cmocka_unit_test(test_encode),  cmocka_unit_test(test_decode),        cmocka_unit_test(test_json_line),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, temp_folder_create, temp_folder_remove);
}
