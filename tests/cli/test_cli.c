/* The command as its users meet it: exit codes, messages that say what to do, and nothing half-written left behind.
 * Runs the real program (VEER_COMMAND) in a folder of its own. */
#include "ir/types.h"
#include "tests/unit/onnx_bytes.h"
#include "tests/unit/temp_folder.h"
#include "tests/support/onnx_contradictions.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { TEXT_BYTES = 1 << 18, MAX_ARGS = 48 };
static char out_text[TEXT_BYTES], err_text[TEXT_BYTES];

/* ---- running ---- */

static void read_back(int fd, char *text) {
    ssize_t n = pread(fd, text, TEXT_BYTES - 1, 0);
    text[n > 0 ? n : 0] = 0;
    close(fd);
}

typedef struct {
    rlim_t file_limit;      /* 0: none */
    const char *out_path;   /* stdout goes there; NULL: into out_text */
    double interrupt_after; /* seconds until SIGINT; 0: none */
} how_t;

static void child(const how_t *how, char *const *argv, int out, int err) {
    if (how->file_limit) setrlimit(RLIMIT_FSIZE, &(struct rlimit){how->file_limit, how->file_limit});
    if (how->out_path) out = open(how->out_path, O_WRONLY);
    dup2(out, 1);
    dup2(err, 2);
    execv(argv[0], argv);
    _exit(99);
}

/* The exit code; a process that a signal ended gives 128 + its number, as in a shell. */
static int run_how(const how_t *how, const char *const *words) {
    char *argv[MAX_ARGS + 2] = {(char *)VEER_COMMAND};
    int count = 1, state;
    for (; words[count - 1]; count++) argv[count] = (char *)words[count - 1];
    int out = memfd_create("out", 0), err = memfd_create("err", 0);
    pid_t pid = fork();
    if (!pid) child(how, argv, out, err);
    if (how->interrupt_after > 0) {
        usleep((useconds_t)(how->interrupt_after * 1e6));
        kill(pid, SIGINT);
    }
    assert_int_equal(waitpid(pid, &state, 0), pid);
    read_back(out, out_text);
    read_back(err, err_text);
    return WIFEXITED(state) ? WEXITSTATUS(state) : 128 + WTERMSIG(state);
}

#define WORDS(...)  ((const char *const[]){__VA_ARGS__, NULL})
#define veer(...)   run_how(&(how_t){0}, WORDS(__VA_ARGS__))
#define path(name)  temp_path(name)
#define digits(sub) VEER_EXAMPLES "/digits/" sub

static void expect_code(int got, int want, const char *part) {
    if (got != want || !strstr(err_text, part))
        fail_msg("exit code %d, expected %d with '%s':\n%s", got, want, part, err_text);
}

static void assert_out(const char *part) {
    if (!strstr(out_text, part)) fail_msg("'%s' is not in:\n%s", part, out_text);
}

static int reset_folder(void **state) {
    (void)state;
    temp_folder_count(true);
    return 0;
}

/* ---- models ---- */

static bytes_t graph, model;

static void begin(void) {
    graph.size = model.size = 0;
}

/* The path is valid until the next model. */
static const char *finish(const char *name, int opset) {
    static char file[400];
    put_model(&model, &graph, opset);
    snprintf(file, sizeof file, "%s", path(name));
    write_file(file, model.data, model.size);
    return file;
}

/* y = x w + 1 with x: [n,2]; w is a constant. */
static const char *good_model(const char *name) {
    const float w[] = {1, 2, 3, 4}, one[] = {1};
    begin();
    put_node(&graph, "MatMul", "product", "x w", "p");
    put_node(&graph, "Add", "sum", "p one", "y");
    bytes_t t = tensor("w", FLOAT, 2, (int64_t[]){2, 2}, w, sizeof w);
    put_message(&graph, INITIALIZER, &t);
    t = tensor("one", FLOAT, 1, (int64_t[]){1}, one, sizeof one);
    put_message(&graph, INITIALIZER, &t);
    put_value(&graph, INPUT, "x", FLOAT, "n 2");
    put_value(&graph, OUTPUT, "y", FLOAT, "n 2");
    return finish(name, 17);
}

static const char *relu_model(const char *name, const char *op) {
    begin();
    put_node(&graph, op, "first", "x", "y");
    put_value(&graph, INPUT, "x", FLOAT, "2 3");
    put_value(&graph, OUTPUT, "y", FLOAT, "2 3");
    return finish(name, 17);
}

/* y = x + w, where w is described by `w`. */
static const char *model_with(const char *name, const bytes_t *w) {
    begin();
    put_node(&graph, "Add", "sum", "x w", "y");
    put_message(&graph, INITIALIZER, w);
    put_value(&graph, INPUT, "x", FLOAT, "4");
    put_value(&graph, OUTPUT, "y", FLOAT, "4");
    return finish(name, 17);
}

static void write_npy(const char *name, const char *descr, const char *shape, const void *data, size_t size) {
    char header[128];
    memset(header, ' ', sizeof header);
    memcpy(header, "\x93NUMPY\x01\x00\x76\x00", 10);
    int n = snprintf(header + 10, 118, "{'descr': '%s', 'fortran_order': False, 'shape': %s, }", descr, shape);
    header[10 + n] = ' ';
    header[127] = '\n';
    FILE *f = fopen(path(name), "wb");
    assert_non_null(f);
    fwrite(header, 1, sizeof header, f);
    fwrite(data, 1, size, f);
    assert_int_equal(fclose(f), 0);
}

/* ---- usage ---- */

static const char *const verbs[] = {"inspect", "run", "verify", "grad", "sample", "schedule", "opt", "ops", "version"};
enum { VERB_COUNT = sizeof verbs / sizeof *verbs };

static void test_usage(void **state) {
    (void)state;
    expect_code(run_how(&(how_t){0}, WORDS(NULL)), 2, "usage: veer");
    expect_code(veer("inspekt"), 2, "did you mean veer inspect?");
    expect_code(veer("xyzzyxyz"), 2, "veer --help");
    assert_int_equal(veer("--help"), 0);
    for (int i = 0; i < VERB_COUNT; i++) assert_out(verbs[i]);
    assert_int_equal(veer("--version"), 0);
    assert_out("veer ");
    for (int i = 0; i < VERB_COUNT; i++) {
        assert_int_equal(veer(verbs[i], "--help"), 0);
        assert_out("example:\n  veer ");
        assert_string_equal(err_text, "");
        expect_code(veer(verbs[i], "--formt", "json"), 2, "did you mean --format?");
        expect_code(veer(verbs[i], "--format", "xml"), 2, "table, json");
        expect_code(veer(verbs[i], "--format"), 2, "needs a value");
        expect_code(veer(verbs[i], "a", "b", "c"), 2, "unexpected argument");
    }
    expect_code(veer("inspect"), 2, "MODEL.onnx is missing");
    expect_code(veer("version", "--help=yes"), 0, "");
    expect_code(veer("schedule", "--bogus", "--formt=json"), 2, "unknown flag --bogus"); /* all mistakes at once */
    expect_code(veer("schedule", "--bogus", "--formt=json"), 2, "unknown flag --formt");
}

static void test_spellings(void **state) {
    (void)state;
    assert_int_equal(veer("schedule", "--beta_schedule=cosine", "--timestep_respacing", "3", "--format=json"), 0);
    char first[TEXT_BYTES];
    strcpy(first, out_text);
    assert_int_equal(veer("schedule", "--format", "json", "--timestep-respacing=3", "-t1", "--beta-schedule", "cosine"),
                     0);
    assert_string_equal(first, out_text);
    assert_out("\"timestep\": 999");
}

static void test_error_as_json(void **state) {
    (void)state;
    relu_model("m.onnx", "Nonsense");
    expect_code(veer("run", path("m.onnx"), "--input", "x=1", "--format", "json"), 3, "\"code\":3");
    static const char *const parts[] = {"\"stage\":", "\"node\":\"first\"",
                                        "\"message\":", "\"help\":", "Nonsense, opset 17"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) expect_code(3, 3, parts[i]);
}

/* Every line of every example, in a folder that looks like the project's. */
static void test_examples(void **state) {
    (void)state;
    char folder[] = "/tmp/veer-examples-XXXXXX", command[4096], lines[8192];
    assert_non_null(mkdtemp(folder));
    for (int i = 0; i < VERB_COUNT; i++) {
        assert_int_equal(veer(verbs[i], "--help"), 0);
        snprintf(lines, sizeof lines, "%s", strstr(out_text, "example:\n") + strlen("example:\n"));
        for (char *line = strtok(lines, "\n"); line; line = strtok(NULL, "\n")) {
            assert_memory_equal(line, "  veer ", 7);
            if (strstr(line, "libonnx-testdata")) continue; /* what it needs may not be installed; see test_verify */
            snprintf(command, sizeof command,
                     "cd %s && ln -sfn %s examples && %s %s >out 2>err || { cat err; exit 1; }", folder, VEER_EXAMPLES,
                     VEER_COMMAND, line + 7);
            if (system(command)) fail_msg("example fails: %s", line);
        }
    }
    snprintf(command, sizeof command, "test -s %s/digits.png && test -s %s/grad.onnx", folder, folder);
    assert_int_equal(system(command), 0);
    snprintf(command, sizeof command, "rm -r %s", folder);
    assert_int_equal(system(command), 0);
}

/* ---- broken models ---- */

static void every_reader(const char *model_path, int code, const char *part) {
    expect_code(veer("inspect", model_path), code, part);
    expect_code(veer("run", model_path, "--input", "x=1"), code, part);
    expect_code(veer("grad", model_path, "--wrt", "x", "--check"), code, part);
    expect_code(veer("grad", model_path, "--wrt", "x", "-o", path("grad.onnx")), code, part);
    expect_code(veer("sample", "--denoiser", model_path, "--steps", "2", "-o", path("x.npy")), code, part);
    assert_int_equal(access(path("grad.onnx"), F_OK), -1);
    assert_int_equal(access(path("x.npy"), F_OK), -1);
}

static void test_broken_files(void **state) {
    (void)state;
    good_model("good.onnx");
    size_t size = model.size;
    write_file(path("m.onnx"), model.data, size - 9);
    every_reader(path("m.onnx"), 5, "m.onnx");
    write_file(path("m.onnx"), "#!/bin/sh\necho no model\n", 24);
    every_reader(path("m.onnx"), 5, "m.onnx");
    write_file(path("m.onnx"), "", 0);
    every_reader(path("m.onnx"), 5, "m.onnx");
    every_reader(path("nowhere.onnx"), 5, "No such file");
    every_reader("/", 5, "/");
}

/* Every verb that reads models or graphs knows the limits; each message names the flag that lets the next run pass. */
static void test_limits(void **state) {
    (void)state;
    const char *m = good_model("good.onnx");
    expect_code(veer("inspect", m, "--max-message-bytes", "50"), 3, "help: --max-message-bytes N admits more");
    expect_code(veer("run", m, "--input", "x=1", "--dim", "n=2", "--max-nodes", "2"), 3,
                "3 nodes, more than the limit of 2");
    expect_code(veer("run", m, "--input", "x=1", "--dim", "n=2", "--max-tensor-bytes", "15"), 3,
                "16 bytes of a tensor, more than the limit of 15");
    expect_code(veer("run", m, "--input", "x=1", "--dim", "n=2", "--max-tensor-bytes", "16"), 0, "");
    expect_code(veer("grad", m, "--wrt", "x", "--dim", "n=2", "--check", "--max-nodes", "2"), 3, "--max-nodes N");
    expect_code(veer("sample", digits(""), "--steps", "2", "--class", "3", "--max-nodes", "100", "-o", path("x.npy")),
                3, "101 nodes, more than the limit of 100");
    expect_code(veer("sample", digits(""), "--class", "3", "--max-depth", "0", "-o", path("x.npy")), 2,
                "--max-depth is 0, expected 1 to 500");
    expect_code(veer("run", m, "--input", "x=1", "--dim", "n=2", "--max-depth", "501"), 2, "expected at most 500");
    expect_code(veer("opt", VEER_EXAMPLES "/silu.veer", "--max-nodes", "1"), 3, "2 nodes, more than the limit of 1");
    assert_int_equal(access(path("x.npy"), F_OK), -1);
    assert_int_equal(veer("inspect", m, "--max-nodes", "2"), 3);
    assert_out("3 nodes, more than the limit of 2");
}

static void test_external_data(void **state) {
    (void)state;
    bytes_t w = tensor("w", FLOAT, 1, (int64_t[]){4}, NULL, 0);
    put_int(&w, 14, 1); /* data_location: external */
    size_t plain = w.size;
    put_external(&w, "location", "weights.bin");
    model_with("m.onnx", &w);
    every_reader(path("m.onnx"), 5, "put the file next to the model");
    w.size = plain;
    put_external(&w, "location", "../../etc/passwd");
    model_with("m.onnx", &w);
    every_reader(path("m.onnx"), 5, "outside of the model's folder");
    w.size = plain;
    put_external(&w, "location", "/etc/passwd");
    model_with("m.onnx", &w);
    every_reader(path("m.onnx"), 5, "outside of the model's folder");
    assert_int_equal(symlink("/etc/passwd", path("link.bin")), 0);
    w.size = plain;
    put_external(&w, "location", "link.bin");
    model_with("m.onnx", &w);
    every_reader(path("m.onnx"), 5, "outside of the model's folder");
}

static void test_broken_graphs(void **state) {
    (void)state;
    begin();
    put_node(&graph, "Add", "a", "x q", "p");
    put_node(&graph, "Relu", "b", "p", "q");
    put_value(&graph, INPUT, "x", FLOAT, "2");
    put_value(&graph, OUTPUT, "q", FLOAT, "2");
    every_reader(finish("m.onnx", 17), 5, "cycle");

    bytes_t w = tensor("w", FLOAT, 2, (int64_t[]){INT64_MAX / 2, INT64_MAX / 2}, NULL, 0);
    model_with("m.onnx", &w);
    assert_in_set(veer("run", path("m.onnx"), "--input", "x=1"), ((const uintmax_t[]){3, 5}), 2);
    assert_non_null(strstr(err_text, "initializer 'w'"));
    assert_in_set(veer("inspect", path("m.onnx")), ((const uintmax_t[]){3, 5}), 2);

    relu_model("m.onnx", "Nonsense");
    every_reader(path("m.onnx"), 3, "");
    assert_int_equal(veer("run", path("m.onnx"), "--input", "x=1"), 3);
    assert_non_null(strstr(err_text, "node 'first' (Nonsense, opset 17): the operator is not supported"));
    assert_int_equal(veer("inspect", path("m.onnx")), 3);
    assert_out("Nonsense");
    assert_out("not supported");
}

/* ---- inputs ---- */

static void test_inputs(void **state) {
    (void)state;
    const char *m = good_model("m.onnx");
    float x[] = {1, 2, 3, 4, 5, 6}, y[] = {8, 11, 16, 23, 24, 35};
    double wide[] = {1, 2};
    write_npy("x.npy", "<f4", "(3, 2)", x, sizeof x);
    write_npy("y.npy", "<f4", "(3, 2)", y, sizeof y);
    write_npy("flat.npy", "<f4", "(6,)", x, sizeof x);
    write_npy("wide.npy", "<f8", "(1, 2)", wide, sizeof wide);
    char xs[600], ys[600], flat[600], f64[600], out[600];
    snprintf(xs, sizeof xs, "x=@%s", path("x.npy"));
    snprintf(ys, sizeof ys, "y=@%s", path("y.npy"));
    snprintf(flat, sizeof flat, "x=@%s", path("flat.npy"));
    snprintf(f64, sizeof f64, "x=@%s", path("wide.npy"));
    snprintf(out, sizeof out, "y=@%s", path("got.npy"));

    expect_code(veer("run", m, "--input", xs, "--expect", ys), 0, "");
    expect_code(veer("run", m, "--input", xs, "--expect", ys, "--backend", "reference"), 0, "");
    expect_code(veer("run", m, "--input", xs, "--output", out), 0, "");
    snprintf(out, sizeof out, "y=@%s", path("got.npy"));
    expect_code(veer("run", m, "--input", xs, "--expect", out), 0, "");
    expect_code(veer("run", m, "--input", "x=1,2", "--dim", "n=1"), 0, "");
    assert_out("8 11");
    y[3] += 0.5f;
    write_npy("y.npy", "<f4", "(3, 2)", y, sizeof y);
    expect_code(veer("run", m, "--input", xs, "--expect", ys), 4, "[1,1]: 23, expected 23.5");
    expect_code(veer("run", m, "--input", xs, "--expect", ys, "--atol", "1"), 0, "");

    expect_code(veer("run", m), 2, "input 'x': dimension 0 ('n') has no value");
    expect_code(veer("run", m), 2, "--dim n=N");
    expect_code(veer("grad", m, "--wrt", "x", "-o", path("g.onnx")), 2, "--dim n=N");
    expect_code(veer("run", m, "--dim", "n=2"), 2, "input 'x' (f32[2,2]) is not given");
    expect_code(veer("run", m, "--dim", "N=2", "--input", xs), 2, "did you mean n?");
    expect_code(veer("run", m, "--dim", "n=0", "--input", xs), 2, "at least 1");
    expect_code(veer("run", m, "--dim", "n=2", "--input", xs), 2, "input 'x' is f32[3,2], expected f32[n,2]");
    expect_code(veer("run", m, "--input", flat), 2, "input 'x' is f32[6], expected f32[n,2]");
    expect_code(veer("run", m, "--input", f64), 2, "input 'x' is f64[1,2], expected f32[n,2]");
    expect_code(veer("run", m, "--input", xs, "--input", "z=1"), 2, "no input 'z'");
    expect_code(veer("run", m, "--input", "x"), 2, "NAME=VALUE");
    expect_code(veer("run", m, "--input", "x=one", "--dim", "n=1"), 2, "does not hold numbers");
    expect_code(veer("run", m, "--input", "x=1,2,3", "--dim", "n=1"), 2, "number of entries");
    expect_code(veer("run", m, "--input", "x=@/nowhere.npy"), 5, "/nowhere.npy");
    expect_code(veer("run", m, "--input", xs, "--output", "z=@/dev/null"), 2, "outputs are: y");
    expect_code(veer("run", m, "--input", xs, "--backend", "magic"), 2, "magic");
    expect_code(veer("run", m, "--input", xs, "--precision", "high"), 2, "default or strict");
    expect_code(veer("run", m, "--input", xs, "--tune", "fast"), 2, "off, cached or on");
    expect_code(veer("run", m, "--input", xs, "--cache", "/dev/null/x"), 2, "/dev/null/x");
    expect_code(veer("run", m, "--input", xs, "--precision", "strict"), 0, "");
    expect_code(veer("run", m, "--input", xs, "--memory-budget", "10X"), 2,
                "--memory-budget: '10X' is no number of bytes");
    expect_code(veer("run", m, "--input", xs, "--memory-budget", "1K"), 0, "memory budget: the arena takes");
}

/* A gradient in half of its memory; in a hundredth of it there is no room. */
static void test_memory_budget(void **state) {
    (void)state;
    const char *m = VEER_EXAMPLES "/digits/classifier/model.onnx";
#define GRADIENT                                                                                                       \
    "grad", m, "--of", "logits", "--wrt", "x", "--head", "softmax", "--input", "x=0.5", "--input", "label=1"
    expect_code(veer(GRADIENT, "--dim", "batch=1", "--input", "timesteps=5", "--memory-budget", "100k"), 0,
                "kernels run again");
    expect_code(veer(GRADIENT, "--dim", "batch=1", "--input", "timesteps=5", "--memory-budget", "2000"), 6,
                "the memory budget of 2.00 KB cannot be met");
    expect_code(veer(GRADIENT, "--dim", "batch=1", "--input", "timesteps=5", "--memory-budget", "2000"), 6,
                "the largest values that live at the peak: ");
    expect_code(veer("sample", VEER_EXAMPLES "/digits", "--steps", "2", "--class", "3", "--memory-budget", "1K", "-o",
                     path("x.npy")),
                6, "or a smaller batch");
#undef GRADIENT
}

/* y = x w and, called "y[0]", its square: both are looked at; the name is what stands there, not an element of y. */
static void test_several_outputs(void **state) {
    (void)state;
    const float w[] = {1, 2, 3, 4};
    begin();
    put_node(&graph, "MatMul", "product", "x w", "y");
    put_node(&graph, "Mul", "square", "y y", "y[0]");
    bytes_t t = tensor("w", FLOAT, 2, (int64_t[]){2, 2}, w, sizeof w);
    put_message(&graph, INITIALIZER, &t);
    put_value(&graph, INPUT, "x", FLOAT, "3 2");
    put_value(&graph, OUTPUT, "y", FLOAT, "3 2");
    put_value(&graph, OUTPUT, "y[0]", FLOAT, "3 2");
    const char *m = finish("m.onnx", 17);
    expect_code(veer("grad", m, "--of", "y", "--of", "y[0]", "--wrt", "x", "--check"), 0, "");
    expect_code(veer("grad", m, "--of", "y", "--of", "y[0]", "--wrt", "x", "--verify"), 0, "d_y[0]");
    assert_out("y[0]");
    expect_code(veer("grad", m, "--of", "y[0][1]", "--wrt", "x", "--verify"), 0, "");
    assert_out("yes");
    expect_code(veer("grad", m, "--of", "y", "--of", "z", "--wrt", "x", "--check"), 2, "there is no output 'z'");
    expect_code(veer("grad", m, "--of", "y", "--of", "y[0]", "--wrt", "x", "-o", path("g.onnx")), 2,
                "--check and --verify");
}

/* What `veer grad` writes can be differentiated; the second gradient by x has a name of its own. */
static void test_gradient_of_gradient(void **state) {
    (void)state;
    const char *m = good_model("m.onnx"), *g = path("first.onnx");
    expect_code(veer("grad", m, "--wrt", "x", "--dim", "n=2", "--head", "softmax", "-o", g), 0, "");
    expect_code(veer("grad", g, "--of", "grad_x", "--wrt", "x", "--check"), 0, "");
    expect_code(veer("grad", g, "--of", "grad_x", "--wrt", "x", "--verify"), 0, "");
    assert_out("yes");
    expect_code(veer("grad", g, "--of", "grad_x", "--wrt", "x", "-o", path("second.onnx")), 0, "");
    expect_code(veer("inspect", path("second.onnx")), 0, "");
    assert_out("grad_grad_x");
}

/* ---- outputs ---- */

static void test_unwritable(void **state) {
    (void)state;
    const char *m = good_model("m.onnx");
    float big[65536] = {0};
    char in[600], out[600];
    write_npy("big.npy", "<f4", "(32768, 2)", big, sizeof big);
    snprintf(in, sizeof in, "x=@%s", path("big.npy"));
    snprintf(out, sizeof out, "y=@%s", path("y.npy"));
    int before = temp_folder_count(false);
    expect_code(veer("run", m, "--input", in, "--output", "y=@/nowhere/y.npy"), 2, "/nowhere/y.npy");
    expect_code(veer("run", m, "--input", in, "--output", "y=@/dev/full"), 6, "No space left");
    how_t limited = {.file_limit = 4096};
    expect_code(run_how(&limited, WORDS("run", m, "--input", in, "--output", out)), 6, "y.npy");
    assert_int_equal(temp_folder_count(false), before);
    write_file(path("y.npy"), "old", 3); /* an old file stays as it is */
    expect_code(run_how(&limited, WORDS("run", m, "--input", in, "--output", out)), 6, "y.npy");
    char old[8] = {0};
    assert_int_equal(read_file(path("y.npy"), old, sizeof old), 3);
    assert_int_equal(temp_folder_count(false), before + 1);

    expect_code(veer("grad", m, "--wrt", "x", "--dim", "n=1", "-o", "/nowhere/g.onnx"), 2, "/nowhere");
    expect_code(veer("grad", m, "--wrt", "x", "--dim", "n=1", "-o", "/dev/full"), 6, "No space left");
    how_t full = {.out_path = "/dev/full"};
    for (int i = 0; i < VERB_COUNT; i++) expect_code(run_how(&full, WORDS(verbs[i], "--help")), 6, "standard output");
    expect_code(run_how(&full, WORDS("ops", "--format", "json")), 6, "standard output");
    expect_code(run_how(&full, WORDS("inspect", m)), 6, "standard output");
}

static void test_sample_outputs(void **state) {
    (void)state;
    const char *folder = digits("");
    expect_code(veer("sample", folder, "--steps", "1", "--class", "3"), 2, "-o FILE");
    expect_code(veer("sample", folder, "--steps", "1", "--class", "3", "-o", path("x.gif")), 2,
                ".npy, .npz, .png or .jsonl");
    expect_code(veer("sample", folder, "--steps", "1", "--class", "3", "-o", "/nowhere/x.npy"), 2, "/nowhere/x.npy");
    expect_code(
        veer("sample", folder, "--steps", "1", "--class", "3", "-o", path("x.npy"), "--record", "/nowhere/r.npz"), 2,
        "/nowhere/r.npz");
    how_t limited = {.file_limit = 100};
    expect_code(run_how(&limited, WORDS("sample", folder, "--steps", "1", "--class", "3", "-o", path("x.npy"))), 6,
                "x.npy");
    assert_int_equal(symlink("/dev/full", path("full.npy")), 0);
    expect_code(veer("sample", folder, "--steps", "1", "--class", "3", "-o", path("full.npy")), 6, "No space left");
    assert_int_equal(temp_folder_count(true), 1);
    assert_int_equal(
        veer("sample", folder, "--steps", "2", "--class", "3", "-o", path("x.npy"), "--record", path("r.npz")), 0);
    assert_int_equal(temp_folder_count(false), 2);
}

/* ---- sampling ---- */

static void test_sample_settings(void **state) {
    (void)state;
    const char *folder = digits("");
    char x[400];
    snprintf(x, sizeof x, "%s", path("x.npy"));
    float noise[3 * 64] = {0};
    char npy[500];
    write_npy("noise.npy", "<f4", "(3, 1, 1, 8, 8)", noise, sizeof noise);
    strcpy(npy, path("noise.npy"));
    expect_code(veer("sample", folder, "--steps", "2", "--class", "10", "-o", x), 2, "10");
    expect_code(veer("sample", folder, "--steps", "2", "--class", "-1", "-o", x), 2, "-1");
    expect_code(veer("sample", folder, "--steps", "2", "--class", "1,2,3", "--num-samples", "2", "-o", x), 2,
                "3 entries");
    expect_code(veer("sample", folder, "--steps", "2", "--class", "3", "--noise", npy, "-o", x), 2, "noise");
    expect_code(veer("sample", folder, "--steps", "2", "--timesteps", "1,2", "--class", "3", "-o", x), 2, "steps");
    expect_code(veer("sample", folder, "--steps", "two", "--class", "3", "-o", x), 2, "two");
    expect_code(veer("sample", folder, "--sampler", "ddmp", "--class", "3", "-o", x), 2, "ddmp");
    expect_code(veer("sample", folder, "--clas", "3", "-o", x), 2, "did you mean --class?");
    expect_code(veer("sample", "/nowhere", "-o", x), 2, "/nowhere");
    assert_int_equal(access(x, F_OK), -1);
    expect_code(veer("sample", folder, "--steps", "3", "--class", "3", "--noise", npy, "-o", x, "--format", "json"), 0,
                "");
    assert_out("\"samples\": 1");
    assert_out("\"steps\": 3");
}

/* However far it is (the end takes minutes), the code is 130, and what is there is whole. */
static void test_interrupt(void **state) {
    (void)state;
    how_t how = {.interrupt_after = 4};
    int code = run_how(&how, WORDS("sample", digits(""), "--class", "3", "--num-samples", "200000", "--batch-size", "1",
                                   "--steps", "2", "-o", path("x.npy")));
    assert_int_equal(code, 130);
    int files = temp_folder_count(false);
    assert_in_range(files, 0, 1); /* none, or x.npy with the samples that were finished */
    if (files) assert_non_null(strstr(err_text, "finished samples are in"));
}

/* ---- other verbs ---- */

static void write_pb(const char *name, const char *value_name, int64_t rows, const float *data, size_t size) {
    bytes_t t = tensor(value_name, FLOAT, 2, (int64_t[]){rows, 2}, data, size);
    write_file(path(name), t.data, t.size);
}

static void test_verify(void **state) {
    (void)state;
    char folder[400];
    float x[] = {1, 2, 3, 4}, y[] = {8, 11, 16, 23};
    const char *m = good_model("model.onnx");
    snprintf(folder, sizeof folder, "%s", temp_folder);
    write_pb("input_0.pb", "x", 2, x, sizeof x);
    write_pb("output_0.pb", "y", 2, y, sizeof y);
    assert_int_equal(veer("verify", m, "--pbdir", folder), 0);
    assert_out("passed");
    y[0] = 9;
    write_pb("output_0.pb", "y", 2, y, sizeof y);
    expect_code(veer("verify", m, "--pbdir", folder), 4, "[0,0]: 8, expected 9");
    expect_code(veer("verify", m, "--pbdir", folder, "--rtol", "0.5"), 0, "");
    write_file(path("output_0.pb"), "\xff\xff", 2);
    expect_code(veer("verify", m, "--pbdir", folder), 5, "output_0.pb");
    expect_code(veer("verify", m), 2, "--suite");
    expect_code(veer("verify", "--suite", "/nowhere"), 5, "/nowhere");
    expect_code(veer("verify", m, "--suite", folder), 2, "either");
}

/* A suite of four: right, wrong, not supported, random. */
static void test_suite(void **state) {
    (void)state;
    char suite[] = "/tmp/veer-suite-XXXXXX", command[512], old[sizeof temp_folder];
    static const char *const names[] = {"a_right", "b_wrong", "c_unknown"};
    float x[] = {1, 2}, y[] = {8, 11};
    assert_non_null(mkdtemp(suite));
    strcpy(old, temp_folder);
    for (int i = 0; i < 3; i++) {
        snprintf(command, sizeof command, "mkdir -p %s/%s/test_data_set_0", suite, names[i]);
        assert_int_equal(system(command), 0);
        snprintf(temp_folder, sizeof temp_folder, "%s/%s", suite, names[i]);
        if (i < 2)
            good_model("model.onnx");
        else
            relu_model("model.onnx", "Nonsense");
        y[0] = i == 1 ? 7 : 8;
        write_pb("test_data_set_0/input_0.pb", "x", 1, x, sizeof x);
        write_pb("test_data_set_0/output_0.pb", "y", 1, y, sizeof y);
    }
    strcpy(temp_folder, old);
    assert_int_equal(veer("verify", "--suite", suite), 4);
    assert_out("a_right: passed\nb_wrong: failed: ");
    assert_out("c_unknown: skipped: ");
    assert_out("the operator is not supported\n1 passed, 1 failed, 1 skipped\n");
    snprintf(command, sizeof command, "rm -r %s", suite);
    assert_int_equal(system(command), 0);
}

/* All that can be imported agrees with ONNX's own results (Debian: libonnx-testdata). */
static void test_onnx_suite(void **state) {
    (void)state;
    const char *suite = "/usr/share/libonnx-testdata/data/node";
    if (access(suite, F_OK)) skip();
    int code = veer("verify", "--suite", suite), failed = 0;
    for (char *line = strtok(out_text, "\n"); line; line = strtok(NULL, "\n")) {
        char *colon = strstr(line, ": failed: ");
        if (!colon) continue;
        *colon = 0;
        failed++;
        if (!veer_contradictory_test(line)) fail_msg("%s: %s", line, colon + 1);
    }
    assert_int_equal(code, failed ? 4 : 0);
}

static void test_grad(void **state) {
    (void)state;
    const char *m = good_model("m.onnx");
    expect_code(veer("grad", m, "--wrt", "x"), 2, "-o FILE.onnx");
    expect_code(veer("grad", m, "-o", path("g.onnx")), 2, "--wrt INPUT");
    expect_code(veer("grad", m, "--wrt", "z", "--check"), 2, "inputs are: x");
    expect_code(veer("grad", m, "--of", "z", "--wrt", "x", "--check"), 2, "outputs are: y");
    expect_code(veer("grad", m, "--of", "y[2]", "--wrt", "x", "--check"), 2, "out of range");
    expect_code(veer("grad", m, "--head", "hat", "--wrt", "x", "--check"), 2, "softmax, bernoulli, sum or vjp");
    expect_code(veer("grad", m, "--wrt", "x", "--verify", "--dim", "n=3"), 0, "d_y");
    expect_code(veer("grad", m, "--wrt", "x", "--verify", "--head", "softmax"), 0, "label");
    expect_code(veer("grad", m, "--wrt", "x", "--head", "sum", "--dim", "n=1", "-o", path("g.onnx")), 0, "");
    /* d sum(x w + 1) / dx is the sums of the rows of w. */
    expect_code(veer("run", path("g.onnx"), "--input", "x=1,2"), 0, "");
    assert_out("grad_x");
    assert_out("3 7");
    expect_code(veer("grad", m, "--wrt", "x", "--head", "sum", "--input", "x=1,2", "--dim", "n=1"), 0, "");
    assert_out("3 7");
    expect_code(veer("grad", m, "--wrt", "x", "--dim", "n=1", "--input", "x=1,2"), 2,
                "input 'd_y' (f32[1,2]) is not given");
}

static void test_schedule_verb(void **state) {
    (void)state;
    expect_code(veer("schedule", "--steps", "2", "--timesteps", "1,2"), 2, "one of --steps, --timestep-respacing");
    expect_code(veer("schedule", "--steps", "0"), 2, "at least 1");
    expect_code(veer("schedule", "--steps", "9", "--train-steps", "8", "--beta-schedule", "cosine"), 2, "at most 8");
    expect_code(veer("schedule", "--timesteps", "1,x"), 2, "'x'");
    expect_code(veer("schedule", "--timesteps", "1000"), 2, "1000");
    expect_code(veer("schedule", "--beta-schedule", "cosin"), 2, "cosin");
    expect_code(veer("schedule", "--scheduler", "/nowhere.json"), 5, "/nowhere.json");
    assert_int_equal(veer("schedule", digits(""), "--timesteps", "0,500,999"), 0);
    const char *first = strstr(out_text, " 999 "), *second = strstr(out_text, " 500 ");
    assert_true(first && second && first < second); /* in the order of execution */
}

static void test_opt_verb(void **state) {
    (void)state;
    const char text[] = "graph @f(%x: f32[2]) { %y = softmacs %x  return %y }\n";
    const char good[] = "graph @f(%x: f32[2]) { %y = neg %x  %z = neg %y  return %y \"y\" }\n";
    write_file(path("bad.veer"), text, sizeof text - 1);
    write_file(path("good.veer"), good, sizeof good - 1);
    assert_in_set(veer("opt", path("bad.veer")), ((const uintmax_t[]){3, 5}), 2);
    assert_non_null(strstr(err_text, "bad.veer:1:"));
    assert_non_null(strstr(err_text, "^"));
    expect_code(veer("opt", path("good.veer"), "--passes", "dse"), 2, "passes are: ");
    expect_code(veer("opt", path("nowhere.veer")), 5, "nowhere.veer");
    expect_code(veer("opt", path("good.veer"), "--passes", "dce", "--dump-after", "dce"), 0, "// after dce");
    assert_out("%y = neg %x");
    assert_null(strstr(out_text, "neg %y"));
    expect_code(veer("opt", path("good.veer"), "-o", "/nowhere/x.veer"), 2, "/nowhere");
    expect_code(veer("opt", path("good.veer"), "-o", path("out.veer")), 0, "");
    expect_code(veer("opt", path("out.veer")), 0, "");
    assert_out("neg %y");
}

static void test_tables(void **state) {
    (void)state;
    assert_int_equal(veer("inspect", digits("unet/model.onnx"), "--dim", "batch=2", "--format", "json"), 0);
    assert_out("\"type\": \"f32[batch,1,8,8]\"");
    assert_out("\"batch\": 2");
    assert_out("\"unsupported\": []");
    assert_int_equal(veer("inspect", digits("unet/model.onnx")), 0);
    assert_non_null(strstr(err_text, "note: dimension 'batch' is taken as 1"));
    assert_int_equal(veer("ops"), 0);
    assert_out("softmax");
    assert_out("ConvTranspose");
}

#define TEST(f) cmocka_unit_test_setup(f, reset_folder)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_usage),
        TEST(test_spellings),
        TEST(test_error_as_json),
        TEST(test_broken_files),
        TEST(test_limits),
        TEST(test_external_data),
        TEST(test_broken_graphs),
        TEST(test_inputs),
        TEST(test_unwritable),
        TEST(test_verify),
        TEST(test_suite),
        TEST(test_onnx_suite),
        TEST(test_grad),
        TEST(test_schedule_verb),
        TEST(test_opt_verb),
        TEST(test_tables),
        TEST(test_sample_outputs),
        TEST(test_sample_settings),
        TEST(test_interrupt),
        TEST(test_examples),
        TEST(test_memory_budget),
        TEST(test_gradient_of_gradient),
        TEST(test_several_outputs),
    };
    return cmocka_run_group_tests(tests, temp_folder_create, temp_folder_remove);
}
