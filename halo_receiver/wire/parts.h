/* The parts of one message, sorted by what they are: conventions/parts.py in C, over a tree.
 *
 * Which kinds there are, `learn` is told by Python, so that a new one is a word in one table there.
 */
#ifndef HALO_PARTS_H
#define HALO_PARTS_H

#include "tree.h"

enum { P_TEXT = 1, P_REASONING = 2, P_CALL = 4, P_RESULT = 8, P_MARK = 16, P_MADE = 32, P_IMAGE = 64, P_TYPED = 128 };

typedef struct {
  Slice word;     /* owned */
  uint32_t flags; /* of a kind of part */
  Slice means;    /* of a role in lower case: the canonical one, owned */
} Word;

#define MAX_WORDS 96
#define WORD_SLOTS 256

typedef struct {
  Word all[MAX_WORDS];
  uint8_t slots[WORD_SLOTS]; /* 1 + index */
  uint32_t count;
} Words;

static Words part_kinds, role_names;

static const Word *word_find(const Words *words, Slice text) {
  uint32_t slot = hash_of(text.data, text.size);
  for (uint8_t at; (at = words->slots[slot & (WORD_SLOTS - 1)]); slot++) {
    const Word *word = &words->all[at - 1];
    if (word->word.size == text.size && !memcmp(word->word.data, text.data, text.size)) return word;
  }
  return NULL;
}

static Slice owned(Slice text) {
  uint8_t *copy = malloc(text.size + 1);
  if (copy) memcpy(copy, text.data, text.size);
  return (Slice){copy, copy ? text.size : 0};
}

static bool word_add(Words *words, Slice text, uint32_t flags, Slice means) {
  if (words->count == MAX_WORDS || !text.size || word_find(words, text)) return false;
  Word word = {owned(text), flags, means.data ? owned(means) : means};
  if (!word.word.data || (means.data && !word.means.data)) return false;
  uint32_t slot = hash_of(text.data, text.size);
  while (words->slots[slot & (WORD_SLOTS - 1)]) slot++;
  words->all[words->count++] = word;
  words->slots[slot & (WORD_SLOTS - 1)] = (uint8_t)words->count;
  return true;
}

/* ---- members */

/* An object, and what was laid over it. */
typedef struct {
  const Node *base, *over;
} Item;

static const Node *get(const Node *object, Member member) {
  if (!object || object->kind != '{') return NULL;
  for (const Node *child = object->first; child; child = child->next) {
    if (child->member == member) return child;
  }
  return NULL;
}

static const Node *item_get(Item item, Member member) {
  const Node *found = get(item.over, member);
  return found ? found : get(item.base, member);
}

/* A list of members ends with M_OF_NONE. */
#define LIST(...) ((const Member[]){__VA_ARGS__, M_OF_NONE})

static bool is(const Node *node, uint8_t kind) { return node && node->kind == kind; }
static bool there(const Node *node) { return node && node->kind != 'n'; }
static bool is_said(const Node *node) { return is(node, '"') && node->text.size; }

static bool truthy(const Node *node) {
  if (!node || node->kind == 'n' || node->kind == 'f') return false;
  if (node->kind == '"') return node->text.size > 0;
  if (node->kind == '{' || node->kind == '[') return node->count > 0;
  if (node->kind != '0') return true;
  for (size_t i = 0; i < node->text.size && (node->text.data[i] | 32) != 'e'; i++) {
    if (node->text.data[i] >= '1' && node->text.data[i] <= '9') return true;
  }
  return false;
}

/* As `a or b or c`: the first that is true, else the last. */
static const Node *either(Item item, const Member *members) {
  const Node *found = NULL;
  for (; *members && !truthy(found); members++) found = item_get(item, *members);
  return found;
}

static const Node *first_of_kind(Item item, const Member *members, uint8_t kind) {
  for (; *members; members++) {
    const Node *found = item_get(item, *members);
    if (is(found, kind)) return found;
  }
  return NULL;
}

static const Node *first_there(Item item, const Member *members) {
  for (; *members; members++) {
    const Node *found = item_get(item, *members);
    if (there(found)) return found;
  }
  return NULL;
}

static bool has_any(const Node *object, const Member *members) {
  for (; *members; members++) {
    if (get(object, *members)) return true;
  }
  return false;
}

static const Member MEDIA_MEMBERS[] = {M_OF_INLINEDATA, M_OF_INLINE_DATA, M_OF_FILEDATA, M_OF_FILE_DATA, M_OF_IMAGE,
                                       M_OF_AUDIO, M_OF_VIDEO, M_OF_DOCUMENT, M_OF_FILE, M_OF_BLOB, M_OF_NONE};
static const Member ATTACHED[] = {M_OF_IMAGES, M_OF_AUDIO, M_OF_FILES, M_OF_ATTACHMENTS, M_OF_MEDIA, M_OF_NONE};

/* What is known of the type of a part: P_TYPED if it has one, and its other flags. */
static uint32_t kind_of(const Node *part) {
  const Node *type = get(part, M_OF_TYPE);
  if (!is_said(type)) return 0;
  const Word *word = word_find(&part_kinds, type->text);
  return P_TYPED | (word ? word->flags : 0);
}

/* ---- parts */

typedef struct {
  Buffer texts, reasoning;       /* slices */
  Buffer calls, results, media;  /* JSON, without what is around them */
  bool inner;                    /* of a result: only its texts count */
} Gathered;

typedef struct {
  Slice role, content, identifier, name, reason; /* data NULL: there is none */
} Message;

typedef struct {
  Arena arena;
  Gathered parts, inner;
  Buffer out;                   /* the JSON */
  Buffer said;                  /* by the assistant, one after the other */
  Slice asked, user, assistant; /* the last text of: user or tool, user, assistant */
  Slice first;                  /* role */
  int messages;
  bool open;  /* the last message may still get a reason */
  bool twice; /* read twice by the reference: events */
  Message last, defaults; /* `defaults`: what an event says of its messages */
  Slice late;             /* its reason, for the last message */
  PyObject *reason_of; /* a finish reason → its canonical name, or None */
  PyObject *reason;    /* of the last message; NULL: none */
} Speech;

static void gathered_empty(Gathered *g) {
  g->texts.size = g->reasoning.size = g->calls.size = g->results.size = g->media.size = 0;
}

/* Give away what grew beyond `room`. */
static void gathered_trim(Gathered *g, size_t room) {
  Buffer *all[] = {&g->texts, &g->reasoning, &g->calls, &g->results, &g->media};
  for (int i = 0; i < 5; i++) {
    if (all[i]->room > room) buffer_free(all[i]);
  }
}

static bool words_add(Buffer *to, Slice text) { return buffer_add(to, &text, sizeof text); }

/* All texts, a line each; data NULL: there are none. */
static bool words_joined(Arena *a, const Buffer *texts, Slice *joined) {
  size_t count = texts->size / sizeof(Slice), size = count;
  const Slice *all = (const Slice *)(const void *)texts->data;
  *joined = count ? all[0] : (Slice){NULL, 0};
  if (count < 2) return true;
  for (size_t i = 0; i < count; i++) size += all[i].size;
  uint8_t *to = arena_take(a, size);
  if (!to) return false;
  joined->data = to;
  for (size_t i = 0; i < count; i++) {
    if (i) *to++ = '\n';
    if (all[i].size) memcpy(to, all[i].data, all[i].size);
    to += all[i].size;
  }
  joined->size = size - 1;
  return true;
}

/* The JSON of a value as a text. */
static bool written(Arena *a, const Node *node, Slice *text) {
  a->work.size = 0;
  if (!tree_write(node, &a->work)) return false;
  *text = (Slice){a->work.data, a->work.size};
  return arena_copy(a, text);
}

static bool words_of_json(Speech *s, Gathered *g, const Node *node) {
  Slice text;
  return written(&s->arena, node, &text) && words_add(&g->texts, text);
}

static bool add_words(Buffer *out, const char *words) { return buffer_add(out, words, strlen(words)); }
static bool add_string(Buffer *out, Slice text) { return json_string(out, text.data, text.size) >= 0; }

/* The list or object that a value is, or that its text holds; found is NULL where there is none. */
static bool structure_of(Arena *a, const Node *node, const Node **found) {
  *found = node && (node->kind == '{' || node->kind == '[') ? node : NULL;
  if (!is(node, '"')) return true;
  Json j = {node->text.data, node->text.data + node->text.size};
  uint8_t next = json_next(&j);
  if (next == '{' || next == '[') return (*found = tree_of(a, node->text)) != NULL;
  return true; /* Python takes more white space off than JSON has; what follows is no JSON then */
}

static bool add_call(Speech *s, Gathered *g, const Node *call) {
  static const Member sent[] = {M_OF_ARGUMENTS, M_OF_INPUT, M_OF_ARGS, M_OF_NONE};
  if (!is(call, '{') || g->inner) return true;
  const Node *inner = get(call, M_OF_FUNCTION), *function = is(inner, '{') ? inner : call, *parsed;
  const Node *arguments = first_there((Item){function, NULL}, sent);
  if (!arguments) arguments = first_there((Item){call, NULL}, sent);
  if (!structure_of(&s->arena, arguments, &parsed)) return false;
  const Node *id = first_of_kind((Item){call, NULL},
                                 LIST(M_OF_CALL_ID, M_OF_ID, M_OF_TOOLCALLID, M_OF_TOOLUSEID, M_OF_TOOL_CALL_ID), '"');
  const Node *name = get(function, M_OF_NAME);
  if (!truthy(name)) name = either((Item){call, NULL}, LIST(M_OF_TOOLNAME, M_OF_TOOL_NAME));
  Buffer *out = &g->calls;
  return (!out->size || buffer_byte(out, ',')) && add_words(out, "{\"id\":") &&
         (id ? add_string(out, id->text) : add_words(out, "null")) && add_words(out, ",\"name\":") &&
         (is(name, '"') && (name->text.size || !s->twice) ? add_string(out, name->text) : add_words(out, "null")) && add_words(out, ",\"arguments\":") &&
         (arguments ? tree_write(parsed ? parsed : arguments, out) : add_words(out, "null")) && buffer_byte(out, '}');
}

static bool add_media(Gathered *g, const Node *part, Slice kind) {
  const Node *inner = first_of_kind((Item){part, NULL}, MEDIA_MEMBERS, '{');
  if (!inner) inner = is(get(part, M_OF_SOURCE), '{') ? get(part, M_OF_SOURCE) : part;
  const Node *mime = first_of_kind((Item){inner, NULL},
                                   LIST(M_OF_MIME_TYPE, M_OF_MIMETYPE, M_OF_MEDIATYPE, M_OF_MEDIA_TYPE), '"');
  if (g->inner) return true;
  return (!g->media.size || buffer_byte(&g->media, ',')) && add_words(&g->media, "{\"type\":") &&
         add_string(&g->media, kind.size ? kind : slice_of("blob")) &&
         (!is_said(mime) || (add_words(&g->media, ",\"mime_type\":") && add_string(&g->media, mime->text))) &&
         buffer_byte(&g->media, '}');
}

static bool add_reasoning(Gathered *g, const Node *part) {
  static const Member members[] = {M_OF_CONTENT, M_OF_TEXT, M_OF_THINKING, M_OF_REASONING, M_OF_SUMMARY, M_OF_NONE};
  const Node *inner = get(part, M_OF_REASONINGCONTENT);
  if (is(inner, '{')) part = is(get(inner, M_OF_REASONINGTEXT), '{') ? get(inner, M_OF_REASONINGTEXT) : inner;
  for (const Member *at = members; *at; at++) {
    const Node *said = get(part, *at);
    if (is_said(said)) return words_add(&g->reasoning, said->text);
    for (const Node *item = is(said, '[') ? said->first : NULL; item; item = item->next) {
      const Node *text = get(item, M_OF_TEXT);
      if (is(text, '"') && !words_add(&g->reasoning, text->text)) return false;
    }
  }
  return true;
}

static bool add_content(Speech *s, Gathered *g, const Node *content);

/* Whether a result is a list of parts; then its texts are what it says. */
static bool is_blocks(const Node *value) {
  if (!is(value, '[') || !value->count) return false;
  for (const Node *item = value->first; item; item = item->next) {
    if (item->kind != '{') return false;
    if (kind_of(item) & (P_TEXT | P_IMAGE)) continue;
    for (const Node *child = item->first; child; child = child->next) {
      if (child->member != M_OF_TEXT && child->member != M_OF_JSON) return false;
    }
  }
  return true;
}

static bool result_text(Speech *s, const Node *value, Slice *text) {
  *text = (Slice){NULL, 0};
  if (!there(value)) return true;
  if (is(value, '"')) {
    *text = value->text;
    return true;
  }
  if (!is_blocks(value)) return written(&s->arena, value, text);
  gathered_empty(&s->inner);
  return add_content(s, &s->inner, value) && words_joined(&s->arena, &s->inner.texts, text);
}

static bool add_outcome(Speech *s, Gathered *g, const Node *part) {
  Item item = {part, NULL};
  Message message = {.role = slice_of("tool")};
  if (g->inner) return true;
  const Node *value = first_there(item, LIST(M_OF_RESPONSE, M_OF_RESULT, M_OF_OUTPUT, M_OF_CONTENT, M_OF_ERROR));
  if (is(value, '{') && value->count == 2 && get(value, M_OF_TYPE) && get(value, M_OF_VALUE)) value = get(value, M_OF_VALUE);
  const Node *id = first_of_kind(item, LIST(M_OF_TOOL_CALL_ID, M_OF_CALL_ID, M_OF_TOOLCALLID, M_OF_TOOL_USE_ID,
                                            M_OF_TOOLUSEID, M_OF_ID), '"');
  const Node *name = either(item, LIST(M_OF_NAME, M_OF_TOOLNAME));
  if (is_said(id)) message.identifier = id->text;
  if (is(name, '"')) message.name = name->text;
  return result_text(s, value, &message.content) && buffer_add(&g->results, &message, sizeof message);
}

static bool add_part(Speech *s, Gathered *g, const Node *part) {
  uint32_t kind = kind_of(part);
  const Node *found;
  if (kind & P_CALL) return add_call(s, g, part);
  if (kind & P_RESULT) return add_outcome(s, g, part);
  if (kind & P_REASONING || get(part, M_OF_REASONINGCONTENT)) return add_reasoning(g, part);
  if (is(found = get(part, M_OF_TOOLUSE), '{')) return add_call(s, g, found);
  if (is(found = get(part, M_OF_TOOLRESULT), '{')) return add_outcome(s, g, found);
  found = either((Item){part, NULL}, LIST(M_OF_FUNCTIONCALL, M_OF_FUNCTION_CALL));
  if (is(found, '{')) return add_call(s, g, found);
  found = either((Item){part, NULL}, LIST(M_OF_FUNCTIONRESPONSE, M_OF_FUNCTION_RESPONSE));
  if (is(found, '{')) return add_outcome(s, g, found);
  found = get(part, M_OF_TEXT);
  if (!found && kind & P_TEXT) found = get(part, M_OF_CONTENT);
  if (is(found, '"')) return !found->text.size || words_add(&g->texts, found->text);
  if (is(found = get(part, M_OF_REFUSAL), '"')) return words_add(&g->texts, found->text);
  if (is(found = get(part, M_OF_KWARGS), '{')) return add_content(s, g, get(found, M_OF_CONTENT));
  if (kind & P_MARK) return true;
  if (kind || has_any(part, MEDIA_MEMBERS) || get(part, M_OF_MEDIA_TYPE))
    return add_media(g, part, kind ? get(part, M_OF_TYPE)->text : (Slice){NULL, 0});
  found = get(part, M_OF_CONTENT);
  if (is(found, '"') || is(found, '[')) return add_content(s, g, found);
  found = get(part, M_OF_JSON);
  if (is(found, '{') || is(found, '[')) return words_of_json(s, g, found);
  return !part->count || words_of_json(s, g, part);
}

static bool add_content(Speech *s, Gathered *g, const Node *content) {
  if (!there(content)) return true;
  if (is(content, '"')) return !content->text.size || words_add(&g->texts, content->text);
  if (is(content, '[')) {
    for (const Node *part = content->first; part; part = part->next) {
      const Node *wrapped = get(part, M_OF_MESSAGE_CONTENT);
      bool done = true;
      if (is(part, '{')) done = add_part(s, g, is(wrapped, '{') ? wrapped : part);
      else if (is(part, '"')) done = words_add(&g->texts, part->text);
      if (!done) return false;
    }
    return true;
  }
  if (is(content, '{')) {
    const Node *parts = get(content, M_OF_PARTS);
    if (is(parts, '[')) return add_content(s, g, parts);
    return !content->count || add_part(s, g, content);
  }
  return words_of_json(s, g, content);
}

/* Add what lies beside the content of a message; of audio, what is said in it. */
static bool add_attached(Gathered *g, const Node *part, Member member) {
  if (!is(part, '{')) return true;
  Slice kind = slice_of(MEMBER_TEXTS[member]);
  if (kind.size && kind.data[kind.size - 1] == 's') kind.size--;
  if (is_said(get(part, M_OF_TYPE))) kind = get(part, M_OF_TYPE)->text;
  const Node *said = get(part, M_OF_TRANSCRIPT);
  return add_media(g, part, kind) && (member != M_OF_AUDIO || !is_said(said) || words_add(&g->texts, said->text));
}

#endif
