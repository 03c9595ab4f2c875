/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The control prompt: what a user types after Ctrl-a c, a line at a time.
 * All of it is the main thread's.
 */
#ifndef LKVM_PROMPT_H
#define LKVM_PROMPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct vm;

#define PROMPT_LINE 128

struct prompt {
	char line[PROMPT_LINE]; /* what has been typed of it */
	size_t len;
};

/* Ctrl-a c: the prompt comes (@on) or goes. */
void prompt_show(struct vm *vm, bool on);

/* A key while it is there. */
void prompt_key(struct vm *vm, char key);

/* Run the command @line, which is modified, and print its answer to @out. */
void prompt_run(struct vm *vm, char *line, FILE *out);

#endif
