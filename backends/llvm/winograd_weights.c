/* The transform of weights: u = G w G^T in double, rounded once, in panels. */
#include "backends/llvm/winograd.h"

#include <math.h>

enum { PATCH = VEER_WINO_MAX_PATCH, KERNEL = VEER_WINO_KERNEL, MAX_WIDTH = 64 };

/* For m = 4 the pair 5/8, 3/2 has half the error of the usual 1, 2, and its powers are exact. */
veer_wino_points_t veer_wino_points(int tile) {
    return tile == 2 ? (veer_wino_points_t){1, {1}} : (veer_wino_points_t){2, {0.625, 1.5}};
}

/* All finite points: 0, p, -p, q, -q; returns their number. */
static int finite_points(int tile, double out[PATCH]) {
    veer_wino_points_t points = veer_wino_points(tile);
    int count = 0;
    out[count++] = 0;
    for (int i = 0; i < points.pairs; i++) out[count++] = points.at[i], out[count++] = -points.at[i];
    return count;
}

void veer_wino_factors(int tile, double out[PATCH]) {
    double p[PATCH];
    int count = finite_points(tile, p);
    for (int i = 0; i < count; i++) {
        double n = 1;
        for (int l = 0; l < count; l++)
            if (l != i) n *= p[i] - p[l];
        out[i] = 1 / n;
    }
    out[count] = 1;
}

static void make_g(int tile, double g[PATCH][KERNEL]) {
    double p[PATCH], factors[PATCH];
    int count = finite_points(tile, p);
    veer_wino_factors(tile, factors);
    for (int i = 0; i < count; i++)
        for (int j = 0; j < KERNEL; j++) g[i][j] = pow(p[i], j) * factors[i];
    for (int j = 0; j < KERNEL; j++) g[count][j] = j == KERNEL - 1;
}

/* The sum of |coefficients| of prod over l != skip of (x - p_l). */
static double coefficient_sum(const double *p, int count, int skip) {
    double c[PATCH + 1] = {1}, sum = 0;
    int degree = 0;
    for (int l = 0; l < count; l++) {
        if (l == skip) continue;
        c[++degree] = 0;
        for (int i = degree; i > 0; i--) c[i] = c[i - 1] - p[l] * c[i];
        c[0] *= -p[l];
    }
    for (int i = 0; i <= degree; i++) sum += fabs(c[i]);
    return sum;
}

/* The largest sum over a row of |A^T| diag(|G| 1, |B^T| 1). */
double veer_llvm_conv_amplification(int tile) {
    double p[PATCH], g[PATCH][KERNEL], most = 0;
    int count = finite_points(tile, p);
    make_g(tile, g);
    for (int k = 0; k < tile; k++) {
        double sum = 0;
        for (int i = 0; i <= count; i++) {
            double a = i < count ? fabs(pow(p[i], k)) : k == tile - 1, weights = 0;
            for (int j = 0; j < KERNEL; j++) weights += fabs(g[i][j]);
            sum += a * weights * coefficient_sum(p, count, i);
        }
        most = fmax(most, sum);
    }
    return most;
}

int64_t veer_wino_weight_floats(const veer_wino_cut_t *cut) {
    return cut->fly ? KERNEL * KERNEL : (int64_t)cut->patch * cut->patch;
}

size_t veer_wino_packed_floats(const veer_wino_problem_t *p, const veer_wino_cut_t *cut) {
    int64_t vectors = (cut->mm.panels - 1) * cut->mm.vectors + cut->mm.tail_vectors;
    return (size_t)(vectors * cut->mm.lanes * p->mm.k * veer_wino_weight_floats(cut));
}

/* One input channel's weights for some output channels: w[u][v][column]. */
typedef double filters_t[KERNEL][KERNEL][MAX_WIDTH];

static void gather(const veer_wino_problem_t *p, int64_t c, int64_t first, int64_t columns, filters_t w) {
    int64_t from_c = p->transposed ? p->mm.n * KERNEL * KERNEL : KERNEL * KERNEL;
    int64_t from_m = p->transposed ? KERNEL * KERNEL : p->mm.k * KERNEL * KERNEL;
    for (int64_t j = 0; j < columns; j++) {
        const float *from = p->mm.b_data + c * from_c + (first + j) * from_m;
        for (int i = 0; i < KERNEL * KERNEL; i++)
            w[i / KERNEL][i % KERNEL][j] = (double)from[p->transposed ? KERNEL * KERNEL - 1 - i : i];
    }
}

/* Row `i` of G w G^T: patch x columns numbers, `position` floats apart. */
static void transform_row(double (*g)[KERNEL], int patch, int i, filters_t w, int64_t columns, int64_t position,
                          float *out) {
    double row[KERNEL][MAX_WIDTH];
    for (int v = 0; v < KERNEL; v++)
        for (int64_t j = 0; j < columns; j++)
            row[v][j] = g[i][0] * w[0][v][j] + g[i][1] * w[1][v][j] + g[i][2] * w[2][v][j];
    for (int k = 0; k < patch; k++, out += position)
        for (int64_t j = 0; j < columns; j++)
            out[j] = (float)(g[k][0] * row[0][j] + g[k][1] * row[1][j] + g[k][2] * row[2][j]);
}

static void copy(filters_t w, int64_t columns, int64_t width, float *out) {
    for (int i = 0; i < KERNEL * KERNEL; i++, out += width)
        for (int64_t j = 0; j < columns; j++) out[j] = (float)w[i / KERNEL][i % KERNEL][j];
}

void veer_wino_pack(const veer_wino_problem_t *p, const veer_wino_cut_t *cut, float *out) {
    double g[PATCH][KERNEL];
    filters_t w;
    int64_t full = (int64_t)cut->mm.vectors * cut->mm.lanes, tail = (int64_t)cut->mm.tail_vectors * cut->mm.lanes;
    make_g(cut->tile, g);
    for (int64_t panel = 0; panel < cut->mm.panels; panel++) {
        bool last = panel == cut->mm.panels - 1;
        int64_t width = last ? tail : full, columns = last ? p->mm.n - panel * full : full;
        for (int64_t c = 0; c < p->mm.k; c++) {
            gather(p, c, panel * full, columns, w);
            if (cut->fly) copy(w, columns, width, out + c * KERNEL * KERNEL * width);
            for (int i = 0; i < (cut->fly ? 0 : cut->patch); i++)
                transform_row(g, cut->patch, i, w, columns, p->mm.k * width,
                              out + (i * cut->patch * p->mm.k + c) * width);
        }
        out += veer_wino_weight_floats(cut) * p->mm.k * width;
    }
}
