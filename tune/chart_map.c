/* In: a shape's trials. Out: the panel of the best time by the two parameters that matter most. */
#include "chart.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_SIDE SPACE_MAX_VALUES
#define LEFT_MARGIN 86.0
#define BOTTOM_MARGIN 92.0
#define MAX_CELL_WIDTH 96.0
#define MAX_CELL_HEIGHT 56.0
#define BAR_HEIGHT 12.0
#define HATCH_STEP 6.0

/* Cells slower than this times the best have the palest colour. */
#define COLOUR_RATIO 8.0

struct side {
    int parameter; /* of the variant */
    int values[MAX_SIDE];
    int count;
    double share; /* of the variance of the times' logarithms that it explains by itself */
};

struct map {
    const struct chart *chart;
    const struct trace_variant *variant;
    struct side x, y;
    double best[MAX_SIDE][MAX_SIDE]; /* [y][x]; INFINITY: all failed, NAN: none tried */
    double fastest, slowest;         /* of the cells */
    struct box box;
    double cell_width, cell_height;
};

static bool is_of(const struct map *m, const struct trace_trial *trial) {
    return trial->variant == m->chart->variant && trial->has_values;
}

static int compare_values(const void *a, const void *b) {
    const int left = *(const int *)a, right = *(const int *)b;
    return left < right ? -1 : left > right;
}

static int find_value(const struct side *side, int value) {
    const int *found =
        bsearch(&value, side->values, (size_t)side->count, sizeof(int), compare_values);
    return found ? (int)(found - side->values) : -1;
}

/* The values that were tried; false if there are more than a map can have. */
static bool collect_values(const struct map *m, struct side *side) {
    const struct study *study = m->chart->study;
    for (size_t i = 0; i < study->count; ++i) {
        const struct trace_trial *trial = &study->trials[i];
        if (!is_of(m, trial))
            continue;
        const int value = trial->point.value[side->parameter];
        if (find_value(side, value) >= 0)
            continue;
        if (side->count == MAX_SIDE)
            return false;
        side->values[side->count++] = value;
        qsort(side->values, (size_t)side->count, sizeof(int), compare_values);
    }
    return true;
}

/* One-way analysis of variance of log(ns), corrected for the number of values: a parameter with as
 * many values as there are trials explains nothing. */
static double explained(const struct map *m, const struct side *side) {
    const struct study *study = m->chart->study;
    double sums[MAX_SIDE] = {0}, sum = 0, squares = 0, between = 0;
    size_t counts[MAX_SIDE] = {0}, n = 0, groups = 0;
    for (size_t i = 0; i < study->count; ++i) {
        const struct trace_trial *trial = &study->trials[i];
        if (!is_of(m, trial) || !isfinite(trial->ns))
            continue;
        const int group = find_value(side, trial->point.value[side->parameter]);
        const double value = log(trial->ns);
        sums[group] += value;
        ++counts[group];
        sum += value;
        squares += value * value;
        ++n;
    }
    for (int g = 0; g < side->count; ++g)
        if (counts[g]) {
            between += sums[g] * sums[g] / (double)counts[g];
            ++groups;
        }
    const double total = n ? squares - sum * sum / (double)n : 0;
    if (n <= groups || groups < 2 || total <= 1e-12 * squares)
        return 0;
    const double share = (between - sum * sum / (double)n) / total;
    const double adjusted = 1 - (1 - share) * (double)(n - 1) / (double)(n - groups);
    return adjusted > 0 ? adjusted : 0;
}

static bool is_better(const struct side *a, const struct side *b) {
    if (a->share != b->share)
        return a->share > b->share;
    return a->count > b->count;
}

/* The two best, the one with more values across. */
static bool choose_sides(struct map *m) {
    struct side first = {.parameter = -1}, second = {.parameter = -1};
    for (int i = 0; i < m->variant->count; ++i) {
        struct side side = {.parameter = i};
        if (!collect_values(m, &side) || !side.count)
            continue;
        side.share = explained(m, &side);
        if (first.parameter < 0 || is_better(&side, &first)) {
            second = first;
            first = side;
        } else if (second.parameter < 0 || is_better(&side, &second)) {
            second = side;
        }
    }
    const bool is_wide = first.count >= second.count;
    m->x = is_wide ? first : second;
    m->y = is_wide ? second : first;
    return first.parameter >= 0;
}

static void fill_cells(struct map *m) {
    const struct study *study = m->chart->study;
    const int rows = m->y.count ? m->y.count : 1;
    m->fastest = INFINITY;
    for (int y = 0; y < rows; ++y)
        for (int x = 0; x < m->x.count; ++x)
            m->best[y][x] = NAN;
    for (size_t i = 0; i < study->count; ++i) {
        const struct trace_trial *trial = &study->trials[i];
        if (!is_of(m, trial))
            continue;
        const int x = find_value(&m->x, trial->point.value[m->x.parameter]);
        const int y = m->y.count ? find_value(&m->y, trial->point.value[m->y.parameter]) : 0;
        if (!(m->best[y][x] <= trial->ns))
            m->best[y][x] = trial->ns;
    }
    for (int y = 0; y < rows; ++y)
        for (int x = 0; x < m->x.count; ++x) {
            const double ns = m->best[y][x];
            m->fastest = ns < m->fastest ? ns : m->fastest;
            m->slowest = isfinite(ns) && ns > m->slowest ? ns : m->slowest;
        }
    if (m->slowest > COLOUR_RATIO * m->fastest)
        m->slowest = COLOUR_RATIO * m->fastest;
}

static struct colour colour_of(const struct map *m, double ns) {
    const double range = log(m->slowest / m->fastest);
    return chart_ramp(range > 1e-6 ? log(ns / m->fastest) / range : 0);
}

static void hatch(cairo_t *cr, struct box cell) {
    chart_fill(cr, cell, (struct colour){0.965, 0.968, 0.972});
    cairo_save(cr);
    cairo_rectangle(cr, cell.x, cell.y, cell.width, cell.height);
    cairo_clip(cr);
    for (int i = 1; i * HATCH_STEP < cell.width + cell.height; ++i) {
        cairo_move_to(cr, cell.x + i * HATCH_STEP, cell.y);
        cairo_line_to(cr, cell.x + i * HATCH_STEP - cell.height, cell.y + cell.height);
    }
    chart_set(cr, CHART_FAINT, 1);
    cairo_set_line_width(cr, 1);
    cairo_stroke(cr);
    cairo_restore(cr);
}

static void cross(cairo_t *cr, double x, double y) {
    cairo_move_to(cr, x - 4, y - 4);
    cairo_line_to(cr, x + 4, y + 4);
    cairo_move_to(cr, x - 4, y + 4);
    cairo_line_to(cr, x + 4, y - 4);
    chart_set(cr, CHART_INK, 0.85);
    cairo_set_line_width(cr, 1.4);
    cairo_stroke(cr);
}

static void draw_time(const struct map *m, struct box cell, double ns) {
    static const double sizes[] = {13, 11, 9};
    const struct colour background = colour_of(m, ns);
    char text[NUMBER_BYTES];
    chart_number(ns / m->chart->unit.ns, text);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); ++i) {
        const bool is_best = ns == m->fastest;
        if (chart_text_width(m->chart->cr, sizes[i], is_best, text) > cell.width - 6 ||
            sizes[i] > cell.height - 4)
            continue;
        chart_text(m->chart->cr, cell.x + cell.width / 2,
                   cell.y + cell.height / 2 + sizes[i] * 0.36,
                   &(struct style){.size = sizes[i],
                                   .is_bold = is_best,
                                   .align = ALIGN_CENTRE,
                                   .colour = chart_is_dark(background) ? CHART_PAPER : CHART_INK},
                   text);
        return;
    }
}

static void draw_cells(const struct map *m) {
    cairo_t *cr = m->chart->cr;
    const int rows = m->y.count ? m->y.count : 1;
    struct box best = {0, 0, 0, 0};
    for (int y = 0; y < rows; ++y)
        for (int x = 0; x < m->x.count; ++x) {
            const double ns = m->best[y][x];
            /* Upwards, as on axes. */
            const struct box cell = {m->box.x + x * m->cell_width + 0.5,
                                     m->box.y + (rows - 1 - y) * m->cell_height + 0.5,
                                     m->cell_width - 1, m->cell_height - 1};
            if (isnan(ns)) {
                hatch(cr, cell);
            } else if (!isfinite(ns)) {
                chart_fill(cr, cell, CHART_FAINT);
                cross(cr, cell.x + cell.width / 2, cell.y + cell.height / 2);
            } else {
                chart_fill(cr, cell, colour_of(m, ns));
                draw_time(m, cell, ns);
            }
            if (isfinite(ns) && ns == m->fastest && best.width == 0)
                best = cell;
        }
    if (best.width == 0)
        return;
    /* Dark around light: it stands out from dark cells and from pale ones. */
    cairo_set_line_join(cr, CAIRO_LINE_JOIN_MITER);
    cairo_rectangle(cr, best.x, best.y, best.width, best.height);
    chart_set(cr, CHART_INK, 1);
    cairo_set_line_width(cr, 5);
    cairo_stroke_preserve(cr);
    chart_set(cr, CHART_PAPER, 1);
    cairo_set_line_width(cr, 1.6);
    cairo_stroke(cr);
}

static void draw_names(const struct map *m) {
    cairo_t *cr = m->chart->cr;
    const double bottom = m->box.y + m->box.height;
    const struct style right = {.size = 12, .align = ALIGN_RIGHT, .colour = CHART_INK};
    const struct style centre = {.size = 12, .align = ALIGN_CENTRE, .colour = CHART_INK};
    const struct style name = {
        .size = 12, .is_bold = true, .align = ALIGN_CENTRE, .colour = CHART_MUTED};
    char text[NUMBER_BYTES];
    const int stride_x = 1 + (int)(34 / m->cell_width), stride_y = 1 + (int)(13 / m->cell_height);
    for (int x = 0; x < m->x.count; x += stride_x) {
        snprintf(text, sizeof(text), "%d", m->x.values[x]);
        chart_text(cr, m->box.x + (x + 0.5) * m->cell_width, bottom + 16, &centre, text);
    }
    for (int y = 0; y < m->y.count; y += stride_y) {
        snprintf(text, sizeof(text), "%d", m->y.values[y]);
        chart_text(cr, m->box.x - 7, m->box.y + (m->y.count - y - 0.5) * m->cell_height + 4, &right,
                   text);
    }
    chart_text(cr, m->box.x + m->box.width / 2, bottom + 36, &name,
               m->variant->parameters[m->x.parameter]);
    if (!m->y.count)
        return;
    cairo_save(cr);
    cairo_translate(cr, m->box.x - 60, m->box.y + m->box.height / 2);
    cairo_rotate(cr, -M_PI / 2);
    chart_text(cr, 0, 0, &name, m->variant->parameters[m->y.parameter]);
    cairo_restore(cr);
}

/* What hatching and crosses mean, where there are any. */
static void draw_key(const struct map *m, double x, double y) {
    const struct style style = {.size = 11, .colour = CHART_MUTED};
    bool is_hatched = false, is_crossed = false;
    for (int row = 0; row < (m->y.count ? m->y.count : 1); ++row)
        for (int column = 0; column < m->x.count; ++column) {
            is_hatched = is_hatched || isnan(m->best[row][column]);
            is_crossed = is_crossed || isinf(m->best[row][column]);
        }
    if (is_hatched) {
        hatch(m->chart->cr, (struct box){x, y, 20, BAR_HEIGHT});
        chart_text(m->chart->cr, x + 25, y + 10, &style, "not tried");
        x += 92;
    }
    if (is_crossed) {
        cross(m->chart->cr, x + 6, y + BAR_HEIGHT / 2);
        chart_text(m->chart->cr, x + 16, y + 10, &style, "all failed");
    }
}

static void draw_scale(const struct map *m, double width) {
    enum { STEPS = 48 };
    cairo_t *cr = m->chart->cr;
    const double y = m->box.y + m->box.height + 58;
    const struct style style = {.size = 11, .align = ALIGN_CENTRE, .colour = CHART_MUTED};
    char text[NUMBER_BYTES + 8], time[NUMBER_BYTES];
    if (isfinite(m->fastest) && m->slowest > m->fastest) {
        for (int i = 0; i < STEPS; ++i)
            chart_fill(
                cr, (struct box){m->box.x + width * i / STEPS, y, width / STEPS + 0.3, BAR_HEIGHT},
                chart_ramp((i + 0.5) / STEPS));
        chart_time(&m->chart->unit, m->fastest, time);
        chart_text(cr, m->box.x, y + BAR_HEIGHT + 14,
                   &(struct style){.size = 11, .colour = CHART_MUTED}, time);
        chart_time(&m->chart->unit, sqrt(m->fastest * m->slowest), time);
        chart_text(cr, m->box.x + width / 2, y + BAR_HEIGHT + 14, &style, time);
        chart_time(&m->chart->unit, m->slowest, time);
        snprintf(text, sizeof(text), "%s%s", m->slowest >= COLOUR_RATIO * m->fastest ? "≥ " : "",
                 time);
        chart_text(cr, m->box.x + width, y + BAR_HEIGHT + 14, &style, text);
    }
    draw_key(m, m->box.x + width + 44, y);
}

static void describe(const struct map *m, char *note, size_t bytes) {
    const struct side *first = m->x.share >= m->y.share || !m->y.count ? &m->x : &m->y;
    const struct side *second = first == &m->x ? &m->y : &m->x;
    const char *const name = m->variant->parameters[first->parameter];
    if (!second->count)
        snprintf(note, bytes, "%s, by %s alone.", m->variant->name, name);
    else if (first->share <= 0)
        snprintf(note, bytes, "%s. Too few candidates to tell which parameters matter.",
                 m->variant->name);
    else
        snprintf(note, bytes, "%s. Of the spread in time %s alone explains %.0f %%, %s %.0f %%.",
                 m->variant->name, name, 100 * first->share,
                 m->variant->parameters[second->parameter], 100 * second->share);
}

static void draw_map(struct map *m, struct box box) {
    const int rows = m->y.count ? m->y.count : 1;
    char note[256], title[96];
    snprintf(title, sizeof(title), "Best time in %s%s", m->chart->unit.name,
             m->y.count ? ", by the two parameters that matter most" : "");
    describe(m, note, sizeof(note));
    const struct box room = chart_head(m->chart, box, title, note);
    m->cell_width = (room.width - LEFT_MARGIN) / m->x.count;
    m->cell_height = (room.height - BOTTOM_MARGIN) / rows;
    m->cell_width = m->cell_width < MAX_CELL_WIDTH ? m->cell_width : MAX_CELL_WIDTH;
    m->cell_height = m->cell_height < MAX_CELL_HEIGHT ? m->cell_height : MAX_CELL_HEIGHT;
    m->box = (struct box){room.x + LEFT_MARGIN, room.y, m->cell_width * m->x.count,
                          m->cell_height * rows};
    draw_cells(m);
    draw_names(m);
    draw_scale(m, room.width * 0.42);
}

void chart_map(const struct chart *chart, struct box box) {
    struct map *m = calloc(1, sizeof(*m));
    if (m && chart->variant >= 0) {
        m->chart = chart;
        m->variant = &chart->study->variants[chart->variant];
        if (choose_sides(m)) {
            fill_cells(m);
            draw_map(m, box);
            free(m);
            return;
        }
    }
    free(m);
    chart_empty(chart, chart_head(chart, box, "Best time by parameters", ""),
                "no candidate with known values was evaluated");
}
