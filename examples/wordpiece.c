/* In: UTF-8. Out: ids. As BERT's reference tokeniser: drop control characters, set CJK characters
 * apart, strip accents, make lower case, split at blanks and punctuation, then cut each word into
 * the longest pieces that the vocabulary has, from its beginning. What Unicode says about
 * characters comes from GLib, which needs no locale for it. */
#include "wordpiece.h"

#include <errno.h>
#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_WORD 100 /* characters; longer words are [UNK] */

struct wordpiece {
    gchar *file;     /* the pieces' text, a NUL after each */
    GPtrArray *text; /* of each id */
    GHashTable *ids; /* text -> id + 1 */
    int32_t unknown, begin, end;
};

/* ---- Vocabulary -------------------------------------------------------------------------------
 */

/* The id, -1 if there is none. */
static int32_t find(const wordpiece *w, const char *text) {
    return GPOINTER_TO_INT(g_hash_table_lookup(w->ids, text)) - 1;
}

static bool parse(wordpiece *w, const char *path, failure *f) {
    const struct {
        const char *text;
        int32_t *id;
    } specials[] = {{"[UNK]", &w->unknown}, {"[CLS]", &w->begin}, {"[SEP]", &w->end}};
    for (char *line = w->file; *line;) {
        char *end = line + strcspn(line, "\n"), *next = *end ? end + 1 : end;
        *end = '\0';
        if (end > line && end[-1] == '\r')
            end[-1] = '\0';
        g_ptr_array_add(w->text, line);
        g_hash_table_insert(w->ids, line, GINT_TO_POINTER((int)w->text->len));
        line = next;
    }
    for (size_t i = 0; i < sizeof(specials) / sizeof(specials[0]); ++i) {
        *specials[i].id = find(w, specials[i].text);
        if (*specials[i].id < 0)
            return fail(f, EXIT_INPUT, "%s: the vocabulary of %u pieces has no %s", path,
                        w->text->len, specials[i].text);
    }
    return true;
}

wordpiece *wordpiece_open(const char *path, failure *f) {
    wordpiece *w = g_new0(wordpiece, 1);
    GError *error = NULL;
    bool ok = false;
    w->text = g_ptr_array_new();
    w->ids = g_hash_table_new(g_str_hash, g_str_equal);
    if (g_file_get_contents(path, &w->file, NULL, &error))
        ok = parse(w, path, f);
    else
        fail(f, EXIT_INPUT, "%s", error->message);
    g_clear_error(&error);
    if (!ok) {
        wordpiece_close(w);
        w = NULL;
    }
    return w;
}

void wordpiece_close(wordpiece *w) {
    if (!w)
        return;
    g_hash_table_destroy(w->ids);
    g_ptr_array_free(w->text, TRUE);
    g_free(w->file);
    g_free(w);
}

const char *wordpiece_text(const wordpiece *w, int32_t id) {
    return id >= 0 && (guint)id < w->text->len ? g_ptr_array_index(w->text, id) : "";
}

int32_t wordpiece_size(const wordpiece *w) {
    return (int32_t)w->text->len;
}

/* ---- Characters -------------------------------------------------------------------------------
 */

/* Ideographs, which BERT takes for a word each; not kana or hangul. */
static bool is_ideograph(gunichar c) {
    static const struct {
        gunichar first, last;
    } blocks[] = {{0x3400, 0x4dbf},   {0x4e00, 0x9fff},   {0xf900, 0xfaff},   {0x20000, 0x2a6df},
                  {0x2a700, 0x2b73f}, {0x2b740, 0x2b81f}, {0x2b820, 0x2ceaf}, {0x2f800, 0x2fa1f}};
    for (size_t i = 0; i < sizeof(blocks) / sizeof(blocks[0]); ++i)
        if (c >= blocks[i].first && c <= blocks[i].last)
            return true;
    return false;
}

typedef enum effect { KEEP, DROP, BLANK, APART } effect;

static effect effect_of(gunichar c) {
    if (c == '\t' || c == '\n' || c == '\r')
        return BLANK;
    switch (g_unichar_type(c)) {
    case G_UNICODE_SPACE_SEPARATOR:
    case G_UNICODE_LINE_SEPARATOR:
    case G_UNICODE_PARAGRAPH_SEPARATOR:
        return BLANK;
    case G_UNICODE_CONTROL:
    case G_UNICODE_FORMAT:
    case G_UNICODE_PRIVATE_USE:
    case G_UNICODE_SURROGATE:
    case G_UNICODE_NON_SPACING_MARK: /* accents, after decomposition */
        return DROP;
    case G_UNICODE_CONNECT_PUNCTUATION:
    case G_UNICODE_DASH_PUNCTUATION:
    case G_UNICODE_CLOSE_PUNCTUATION:
    case G_UNICODE_FINAL_PUNCTUATION:
    case G_UNICODE_INITIAL_PUNCTUATION:
    case G_UNICODE_OTHER_PUNCTUATION:
    case G_UNICODE_OPEN_PUNCTUATION:
        return APART;
    default:
        if (c == 0xfffd) /* stands for what another program could not read */
            return DROP;
        /* All ASCII signs are punctuation, also those that Unicode calls symbols, such as $. */
        return is_ideograph(c) || (c < 0x80 && g_ascii_ispunct((gchar)c)) ? APART : KEEP;
    }
}

/* ---- Words ------------------------------------------------------------------------------------
 */

static bool add(pieces *p, int32_t id) {
    p->cut = p->n == MAX_PIECES - 1; /* the last place is for [SEP] */
    if (!p->cut)
        p->ids[p->n++] = id;
    return !p->cut;
}

/* The longest piece that the word from `begin` on starts with: its id and, in *end, its end; -1 if
 * there is none. */
static int32_t longest(const wordpiece *w, const char *begin, bool goes_on, const char **end) {
    char text[2 + 6 * MAX_WORD + 1] = "##";
    char *const from = text + (goes_on ? 2 : 0);
    strcpy(from, begin);
    for (char *stop = from + strlen(from); stop > from; stop = g_utf8_prev_char(stop)) {
        *stop = '\0';
        int32_t id = find(w, text);
        if (id >= 0) {
            *end = begin + (stop - from);
            return id;
        }
    }
    return -1;
}

/* A word that can't be cut into pieces to its end is [UNK] as a whole. */
static bool add_word(const wordpiece *w, const char *word, pieces *p) {
    int32_t ids[MAX_WORD];
    int n = 0;
    if (g_utf8_strlen(word, -1) > MAX_WORD)
        return add(p, w->unknown);
    for (const char *at = word; *at; ++n) {
        ids[n] = longest(w, at, at > word, &at);
        if (ids[n] < 0)
            return add(p, w->unknown);
    }
    for (int i = 0; i < n; ++i)
        if (!add(p, ids[i]))
            return false;
    return true;
}

/* Adds the word collected so far, if any, and starts the next. */
static bool finish_word(const wordpiece *w, GString *word, pieces *p) {
    bool ok = word->len == 0 || add_word(w, word->str, p);
    g_string_truncate(word, 0);
    return ok;
}

static bool add_character(const wordpiece *w, gunichar c, GString *word, pieces *p) {
    const effect what = effect_of(c);
    if (what == DROP)
        return true;
    if (what == KEEP) {
        g_string_append_unichar(word, g_unichar_tolower(c));
        return true;
    }
    if (!finish_word(w, word, p))
        return false;
    if (what == BLANK)
        return true;
    g_string_append_unichar(word, g_unichar_tolower(c));
    return finish_word(w, word, p);
}

/* Valid UTF-8, with blanks in place of what was not, and decomposed: letters, then accents. */
static gchar *decompose(const char *text) {
    gchar *valid = g_strdup(text), *bad = valid;
    while (!g_utf8_validate(bad, -1, (const gchar **)&bad))
        *bad = ' ';
    gchar *decomposed = g_utf8_normalize(valid, -1, G_NORMALIZE_NFD);
    g_free(valid);
    return decomposed;
}

void wordpiece_split(const wordpiece *w, const char *text, pieces *result) {
    gchar *decomposed = decompose(text);
    GString *word = g_string_new(NULL);
    bool room = true;
    *result = (pieces){0};
    add(result, w->begin);
    for (const char *at = decomposed; room && *at; at = g_utf8_next_char(at))
        room = add_character(w, g_utf8_get_char(at), word, result);
    if (room)
        finish_word(w, word, result);
    result->ids[result->n++] = w->end;
    g_string_free(word, TRUE);
    g_free(decomposed);
}
