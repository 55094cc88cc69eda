/* In: the attention weights of a sentence. Out: a PNG with three parts: the sentence with arcs from
 * the chosen word, the chosen head's map with the words on both axes, and a small map per head. */
#include "picture_words.h"

#include "findings.h"
#include "picture.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define SENTENCE_BASELINE 462.0
#define WORD_GAP 18.0
#define PERCENT_SIZE 15.0
#define LEAST_SHRINK 0.6 /* keeps the small type of the sentence legible */
#define MAP_LABELS 128.0 /* room for the words left of the map */
#define MAP_TOP 690.0
#define MAP_SIZE 720.0
#define TILES_LEFT 1000.0
#define COMPARISON_TOP (MAP_TOP + MAP_SIZE + 124) /* baseline of its title */
#define COMPARISON_HEIGHT 140.0

typedef struct drawing {
    const words_picture *p;
    cairo_t *cr;
    colormap map;
    int n;            /* words */
    const float *row; /* the chosen word's in the chosen head */
} drawing;

/* Most weights are a few percent: the power gives those a place on the ramp too. */
static double ramp_place(double weight) {
    return weight > 0 ? pow(weight, 0.62) : 0;
}

static rgb weight_colour(const drawing *d, double weight) {
    return colormap_at(&d->map, ramp_place(weight));
}

static double sane(double weight) {
    return weight > 0 ? (weight < 1 ? weight : 1) : 0;
}

static const char *word(const drawing *d, int i) {
    return d->p->input->words[i];
}

static void arc(const drawing *d, double from, double to, double baseline, double weight) {
    double reach = fabs(to - from), height = 36 + 200 * sqrt(reach / (PAGE_WIDTH - 300));
    double spread = reach > 0 ? 0.08 * (to - from) : 0;
    height = height > 228 ? 228 : height;
    set_colour(d->cr, weight_colour(d, weight), 0.92);
    cairo_set_line_width(d->cr, 1 + 22 * weight);
    cairo_set_line_cap(d->cr, CAIRO_LINE_CAP_BUTT);
    cairo_move_to(d->cr, from, baseline);
    cairo_curve_to(d->cr, from + spread, baseline - height * 4 / 3, to - spread,
                   baseline - height * 4 / 3, to, baseline);
    cairo_stroke(d->cr);
}

typedef struct placed_word {
    double size, width; /* of the type, before the sentence is shrunk to the page */
    double slot;        /* room for the word and its percentage */
    double centre;
    bool dropped; /* a dot stands for it */
    char percent[16];
} placed_word;

static double sentence_width(const placed_word *words, int n) {
    double total = 0;
    for (int i = 0; i < n; ++i)
        total += words[i].slot + (i ? WORD_GAP : 0);
    return total;
}

/* Sizes and places of all words; returns the factor that fits them on the page. Where type would
 * get too small to read, the words of least weight give way. */
static double place_words(const drawing *d, placed_word *words) {
    const double room = PAGE_WIDTH - 2 * PAGE_MARGIN;
    int order[MAX_WORDS], n = largest(d->row, d->n, order, d->n);
    for (int i = 0; i < d->n; ++i) {
        placed_word *w = &words[i];
        w->size = 22 + 26 * sqrt(sane(d->row[i]));
        w->size = i == d->p->word && w->size < 34 ? 34 : w->size;
        w->width = text_width(d->cr, w->size, true, word(d, i));
        format_percent(d->row[i], w->percent, sizeof(w->percent));
        w->slot = fmax(w->width, text_width(d->cr, PERCENT_SIZE, false, w->percent));
        w->slot += i == d->p->word ? 14 : 0; /* its plate reaches beyond the letters */
    }
    double total = sentence_width(words, d->n);
    for (int i = n - 1; i > 0 && room < LEAST_SHRINK * total; --i) {
        if (order[i] == d->p->word)
            continue;
        words[order[i]].dropped = true;
        words[order[i]].slot = 0;
        total = sentence_width(words, d->n);
    }
    double shrink = total > room ? room / total : 1, x = (PAGE_WIDTH - total * shrink) / 2;
    for (int i = 0; i < d->n; ++i) {
        words[i].centre = x + words[i].slot * shrink / 2;
        x += (words[i].slot + WORD_GAP) * shrink;
    }
    return shrink;
}

static void draw_word(const drawing *d, int i, const placed_word *w, double shrink) {
    rgb ink = colour_mix(PAGE_MUTED, weight_colour(d, 0.75), sqrt(sane(d->row[i])));
    text_style style = {.size = w->size * shrink, .bold = true, .align = ALIGN_CENTRE};
    if (i == d->p->word) {
        rounded_rectangle(d->cr, w->centre - (w->width / 2 + 10) * shrink,
                          SENTENCE_BASELINE - (0.8 * w->size + 11) * shrink,
                          (w->width + 20) * shrink, (w->size + 20) * shrink, 10 * shrink);
        set_colour(d->cr, PAGE_ACCENT, 1);
        cairo_fill(d->cr);
        ink = (rgb){.r = 1, .g = 1, .b = 1};
    }
    style.colour = ink;
    text_draw(d->cr, w->centre, SENTENCE_BASELINE, &style, w->dropped ? "·" : word(d, i));
    style =
        (text_style){.size = PERCENT_SIZE * shrink, .align = ALIGN_CENTRE, .colour = PAGE_MUTED};
    if (!w->dropped)
        text_draw(d->cr, w->centre, SENTENCE_BASELINE + 40 * shrink, &style, w->percent);
}

/* Words large and dark by their weight, joined to the chosen word by arcs as wide as the weight. */
static void draw_sentence(const drawing *d) {
    placed_word words[MAX_WORDS] = {0};
    int order[MAX_WORDS], n = largest(d->row, d->n, order, d->n);
    double shrink = place_words(d, words);
    for (int i = n - 1; i >= 0; --i) /* the widest last, on top */
        if (order[i] != d->p->word && d->row[order[i]] >= 0.002f)
            arc(d, words[d->p->word].centre, words[order[i]].centre,
                SENTENCE_BASELINE - 54 * shrink, sane(d->row[order[i]]));
    for (int i = 0; i < d->n; ++i)
        draw_word(d, i, &words[i], shrink);
}

static void cells(const drawing *d, int head, double x, double y, double size, double seam) {
    double cell = size / d->n;
    for (int q = 0; q < d->n; ++q) {
        const float *row = weights_row(&d->p->input->shape, d->p->weights, head, q);
        for (int k = 0; k < d->n; ++k)
            fill_rectangle(d->cr, x + k * cell, y + q * cell, cell - seam, cell - seam,
                           weight_colour(d, row[k]));
    }
}

static void numbers(const drawing *d, double x, double y, double cell) {
    const double size = fmin(0.33 * cell, 26);
    for (int q = 0; q < d->n; ++q) {
        const float *row = weights_row(&d->p->input->shape, d->p->weights, d->p->head, q);
        for (int k = 0; k < d->n; ++k) {
            char text[16];
            if (!(row[k] >= 0.095f))
                continue;
            snprintf(text, sizeof(text), "%.0f", 100 * sane(row[k]));
            text_draw(d->cr, x + (k + 0.5) * cell, y + (q + 0.5) * cell + 0.36 * size,
                      &(text_style){.size = size,
                                    .align = ALIGN_CENTRE,
                                    .colour = colour_on(weight_colour(d, row[k]))},
                      text);
        }
    }
}

static void map_labels(const drawing *d, double x, double y, double cell) {
    double size = cell < 26 ? 0.68 * cell : 17;
    for (int i = 0; i < d->n; ++i) {
        bool chosen = i == d->p->word;
        text_style style = {.size = size,
                            .bold = chosen,
                            .colour = chosen ? PAGE_ACCENT : PAGE_INK,
                            .max_width = MAP_LABELS - 14};
        style.align = ALIGN_RIGHT;
        text_draw(d->cr, x - 12, y + (i + 0.5) * cell + 0.35 * size, &style, word(d, i));
        style.align = ALIGN_LEFT;
        cairo_save(d->cr);
        cairo_translate(d->cr, x + (i + 0.5) * cell + 0.2 * size, y - 10);
        cairo_rotate(d->cr, -0.85);
        text_draw(d->cr, 0, 0, &style, word(d, i));
        cairo_restore(d->cr);
    }
}

static void outline_row(const drawing *d, double x, double y, double size, double width,
                        double seam) {
    double cell = size / d->n;
    set_colour(d->cr, PAGE_ACCENT, 1);
    cairo_set_line_width(d->cr, width);
    rounded_rectangle(d->cr, x - width, y + d->p->word * cell - width, size - seam + 2 * width,
                      cell - seam + 2 * width, width);
    cairo_stroke(d->cr);
}

static void section(const drawing *d, double x, double y, double width, const char *text) {
    text_draw(d->cr, x, y,
              &(text_style){.size = 20, .bold = true, .colour = PAGE_INK, .max_width = width},
              text);
}

static void draw_map(const drawing *d) {
    static const double percents[] = {0, 1, 5, 10, 25, 50, 75, 100};
    const double x = PAGE_MARGIN + MAP_LABELS, cell = MAP_SIZE / d->n;
    colour_tick ticks[sizeof(percents) / sizeof(percents[0])];
    const int n_ticks = (int)(sizeof(percents) / sizeof(percents[0]));
    char title[100];
    snprintf(title, sizeof(title), "Head %d: who attends to whom", d->p->head);
    section(d, PAGE_MARGIN, MAP_TOP - 118, MAP_SIZE + MAP_LABELS, title);
    cells(d, d->p->head, x, MAP_TOP, MAP_SIZE, cell > 16 ? 2 : 0.5);
    if (cell >= 28)
        numbers(d, x, MAP_TOP, cell);
    map_labels(d, x, MAP_TOP, cell);
    outline_row(d, x, MAP_TOP, MAP_SIZE, cell > 16 ? 3 : 2, cell > 16 ? 2 : 0.5);
    for (int i = 0; i < n_ticks; ++i) {
        ticks[i].place = ramp_place(percents[i] / 100);
        snprintf(ticks[i].label, sizeof(ticks[i].label), "%.0f %%", percents[i]);
    }
    colour_bar(d->cr, &d->map, x, MAP_TOP + MAP_SIZE + 22, MAP_SIZE - 2, 16, ticks, n_ticks);
}

/* The number of columns that makes the tiles largest. */
static int best_columns(int heads, double width, double height, double gap, double label) {
    int best = 1;
    double best_size = 0;
    for (int columns = 1; columns <= heads; ++columns) {
        int rows = (heads + columns - 1) / columns;
        double across = (width - (columns - 1) * gap) / columns;
        double down = (height - (rows - 1) * gap) / rows - label;
        double size = across < down ? across : down;
        if (size > best_size) {
            best_size = size;
            best = columns;
        }
    }
    return best;
}

static void draw_tile(const drawing *d, int head, double x, double y, double size) {
    const float *row = weights_row(&d->p->input->shape, d->p->weights, head, d->p->word);
    int target = strongest_word(d->p->input, row, d->p->word);
    bool chosen = head == d->p->head;
    char number[16], what[160] = "", percent[16];
    snprintf(number, sizeof(number), "%d", head);
    if (target >= 0 && size >= 100) {
        format_percent(row[target], percent, sizeof(percent));
        snprintf(what, sizeof(what), "→ %.100s %s", word(d, target), percent);
    }
    double used = text_draw(
        d->cr, x, y - 8,
        &(text_style){.size = 16, .bold = true, .colour = chosen ? PAGE_ACCENT : PAGE_INK}, number);
    text_draw(d->cr, x + used + 8, y - 8,
              &(text_style){.size = 14,
                            .colour = chosen ? PAGE_ACCENT : PAGE_MUTED,
                            .max_width = size - used - 8},
              what);
    fill_rectangle(d->cr, x, y, size, size, weight_colour(d, 0));
    cells(d, head, x, y, size, 0);
    set_colour(d->cr, chosen ? PAGE_ACCENT : PAGE_FAINT, 1);
    cairo_set_line_width(d->cr, chosen ? 3 : 1);
    cairo_rectangle(d->cr, x - 1, y - 1, size + 2, size + 2);
    cairo_stroke(d->cr);
    /* A pointer at the chosen word's row. */
    double middle = y + (d->p->word + 0.5) * size / d->n;
    set_colour(d->cr, PAGE_ACCENT, 1);
    cairo_move_to(d->cr, x - 3, middle);
    cairo_line_to(d->cr, x - 11, middle - 5);
    cairo_line_to(d->cr, x - 11, middle + 5);
    cairo_close_path(d->cr);
    cairo_fill(d->cr);
}

static void draw_tiles(const drawing *d) {
    const double width = PAGE_WIDTH - PAGE_MARGIN - TILES_LEFT, gap = 20, label = 26;
    const double top = MAP_TOP - 84, height = MAP_TOP + MAP_SIZE - top;
    int heads = (int)d->p->input->shape.q_heads;
    int columns = best_columns(heads, width, height, gap, label);
    int rows = (heads + columns - 1) / columns;
    double across = (width - (columns - 1) * gap) / columns;
    double down = (height - (rows - 1) * gap) / rows - label;
    double size = across < down ? across : down;
    double step = columns > 1 ? (width - size) / (columns - 1) : 0;
    char title[200];
    if (heads == 1)
        snprintf(title, sizeof(title), "The only head");
    else
        snprintf(title, sizeof(title), "All %d heads, and where “%.100s” looks", heads,
                 word(d, d->p->word));
    section(d, TILES_LEFT, MAP_TOP - 118, width, title);
    for (int h = 0; h < heads; ++h)
        draw_tile(d, h, TILES_LEFT + h % columns * step,
                  top + label + h / columns * (height + gap) / rows, size);
}

/* Both sentences, and a scale from 0 to 1 with their similarity on it. */
static void draw_comparison(const drawing *d) {
    const double scale = PAGE_WIDTH - PAGE_MARGIN - TILES_LEFT, top = COMPARISON_TOP;
    const double value = sane(d->p->similarity), room = TILES_LEFT - 40 - PAGE_MARGIN;
    char number[16];
    section(d, PAGE_MARGIN, top, room, "Two sentences, and how alike their meanings are");
    for (int i = 0; i < 2; ++i)
        text_draw(d->cr, PAGE_MARGIN, top + 36 + 30 * i,
                  &(text_style){.size = 20, .colour = PAGE_INK, .max_width = room - 40},
                  d->p->texts[i]);
    section(d, TILES_LEFT, top, scale - 100, "Cosine similarity");
    snprintf(number, sizeof(number), "%.3f", d->p->similarity);
    text_draw(d->cr, TILES_LEFT + scale, top,
              &(text_style){.size = 28, .bold = true, .align = ALIGN_RIGHT, .colour = PAGE_ACCENT},
              number);
    set_colour(d->cr, PAGE_FAINT, 1);
    rounded_rectangle(d->cr, TILES_LEFT, top + 22, scale, 16, 8);
    cairo_fill(d->cr);
    set_colour(d->cr, PAGE_ACCENT, 1);
    rounded_rectangle(d->cr, TILES_LEFT, top + 22, 16 + (scale - 16) * value, 16, 8);
    cairo_fill(d->cr);
    text_draw(d->cr, TILES_LEFT, top + 62, &(text_style){.size = 14, .colour = PAGE_MUTED},
              "0: unrelated");
    text_draw(d->cr, TILES_LEFT + scale, top + 62,
              &(text_style){.size = 14, .align = ALIGN_RIGHT, .colour = PAGE_MUTED}, "1: the same");
}

bool words_picture_draw(const words_picture *picture, const char *path, failure *f) {
    const attention_input *in = picture->input;
    const float *row = weights_row(&in->shape, picture->weights, picture->head, picture->word);
    int target = strongest_word(in, row, picture->word);
    char title[300], shown[500];
    page p;
    const bool compare = picture->texts[0] && picture->texts[1];
    if (!page_open(&p, MAP_TOP + MAP_SIZE + 150 + (compare ? COMPARISON_HEIGHT : 0), f))
        return false;
    drawing d = {.p = picture, .cr = p.cr, .n = in->n_words, .row = row};
    colormap_make(&d.map, COLORMAP_PAPER);
    if (target >= 0)
        snprintf(title, sizeof(title), "“%.100s” attends to “%.100s”", word(&d, picture->word),
                 word(&d, target));
    else
        snprintf(title, sizeof(title), "What “%.100s” attends to", word(&d, picture->word));
    snprintf(shown, sizeof(shown), "%.300s · head %d (of 0 to %d)", in->model, picture->head,
             (int)in->shape.q_heads - 1);
    page_heading(&p, title, shown, picture->computed);
    draw_sentence(&d);
    draw_map(&d);
    draw_tiles(&d);
    if (compare)
        draw_comparison(&d);
    page_footnote(&p,
                  "A row is a word that asks (query), a column a word that answers (key); every "
                  "row adds up to 100 %. The colour scale is stretched at its low end.");
    bool ok = page_save(&p, path, f);
    page_close(&p);
    return ok;
}
