/* SPDX-License-Identifier: GPL-2.0 */
/*
 * lkvm help --completion SHELL: what lets bash(1), zsh(1) and fish(1) complete
 * lkvm's command line. All words come from the tables that parse it.
 *
 * The value of a key=value list is completed from the whole words that may
 * stand in it: "ro", "format=raw", "serial=".
 */
#include <stdio.h>
#include <string.h>

#include <lkvm/commands.h>

/* What stands where an option's value, or a command's argument, does. */
enum value {
	VALUE_NONE,
	VALUE_ANY, /* nothing to offer */
	VALUE_FILE,
	VALUE_FOLDER,
	VALUE_COMMAND,
	VALUE_VM, /* the name of one that runs */
	VALUE_WORDS, /* the option's choices */
};

static enum value value_named(const char *metavar)
{
	if (strstr(metavar, "[NAME"))
		return VALUE_VM;
	if (strstr(metavar, "FILE") || strstr(metavar, "KERNEL"))
		return VALUE_FILE;
	if (strstr(metavar, "DIR"))
		return VALUE_FOLDER;
	if (strstr(metavar, "COMMAND"))
		return VALUE_COMMAND;
	return *metavar ? VALUE_ANY : VALUE_NONE;
}

static enum value value_of(const struct command *command,
			   const struct option_desc *option)
{
	if (option->kind == OPTION_FLAG)
		return VALUE_NONE;
	if (option->choices)
		return VALUE_WORDS;
	/* A VM that is to be has a name of its own. */
	if (!strcmp(option->name, "name") && command->options != run_options)
		return VALUE_VM;
	/* The first item of a list may be a file that has no key. */
	if (option->keys && strncmp(option->metavar, "FILE", 4) != 0 &&
	    strncmp(option->metavar, "DIR", 3) != 0)
		return VALUE_ANY;
	return value_named(option->metavar);
}

/* Blank-separated words of @option's value. */
static void print_words(const struct option_desc *option)
{
	for (unsigned int i = 0; option->choices && option->choices[i]; i++)
		printf(" %s", option->choices[i]);
	for (const struct option_desc *key = option->keys;
	     key && key->kind != OPTION_END; key++) {
		if (key->kind == OPTION_FLAG)
			printf(" %s", key->name);
		else if (!key->choices)
			printf(" %s=", key->name);
		for (unsigned int i = 0; key->choices && key->choices[i]; i++)
			printf(" %s=%s", key->name, key->choices[i]);
	}
}

/* @text inside single quotes, with a backslash before each of @special. */
static void print_quoted(const char *text, const char *special)
{
	for (; *text; text++) {
		if (*text == '\'')
			fputs("'\\'", stdout);
		else if (strchr(special, *text))
			putchar('\\');
		putchar(*text);
	}
}

static void print_commands(void)
{
	for (const struct command *c = commands; c->name; c++)
		printf("%s%s", c == commands ? "" : " ", c->name);
}

/* ---- bash ---------------------------------------------------------------- */

static const char *const value_words[] = {
	[VALUE_ANY] = "any",	   [VALUE_FILE] = "file",
	[VALUE_FOLDER] = "folder", [VALUE_COMMAND] = "command",
	[VALUE_VM] = "vm",	   [VALUE_WORDS] = "any",
};

static void bash_command(const struct command *command)
{
	enum value argument = value_named(command->arguments);
	const struct option_desc *o;

	printf("\t%s)\n\t\toptions='", command->name);
	for (o = command->options; o && o->kind != OPTION_END; o++)
		printf("--%s ", o->name);
	printf("'\n\t\tcase $1 in\n");
	if (argument != VALUE_NONE)
		printf("\t\t'') kind=%s ;;\n", value_words[argument]);
	for (o = command->options; o && o->kind != OPTION_END; o++) {
		enum value value = value_of(command, o);

		if (value == VALUE_NONE)
			continue;
		printf("\t\t--%s", o->name);
		if (o->letter)
			printf(" | -%c", o->letter);
		printf(") kind=%s list=%u optional=%u words='",
		       value_words[value], o->keys != NULL, o->optional);
		print_words(o);
		printf("' ;;\n");
	}
	printf("\t\tesac\n\t\t;;\n");
}

static void bash_tables(void)
{
	printf("# bash completion of lkvm, made by: lkvm help --completion "
	       "bash\n\n_lkvm_commands='");
	print_commands();
	/* options: of the command; the others: of the value of option $1. */
	printf("'\n\n_lkvm_look_up() {\n"
	       "\tkind= list=0 optional=0 words= options=\n"
	       "\tcase $command in\n");
	for (const struct command *c = commands; c->name; c++)
		bash_command(c);
	printf("\tesac\n}\n");
}

/* What is the same for all tables. */
static const char bash_logic[] =
	"\n"
	"_lkvm_add() {\n"
	"\tlocal word\n"
	"\twhile read -r word; do\n"
	"\t\tCOMPREPLY+=(\"$lead$word\")\n"
	"\tdone < <(compgen \"${@}\" -- \"$value\")\n"
	"}\n"
	"\n"
	"_lkvm_values() {\n"
	"\tlocal lead=${cur%\"$value\"}\n"
	"\tif [ $list = 1 ]; then\n"
	"\t\tcompopt -o nospace\n"
	"\t\tcase $value in\n"
	"\t\t*,*)\n"
	"\t\t\tkind=any lead=${cur%\"${value##*,}\"}\n"
	"\t\t\tvalue=${value##*,}\n"
	"\t\t\t;;\n"
	"\t\tesac\n"
	"\tfi\n"
	"\tcase $kind in\n"
	"\tfile) compopt -o filenames; _lkvm_add -f ;;\n"
	"\tfolder) compopt -o filenames; _lkvm_add -d ;;\n"
	"\tcommand) _lkvm_add -W \"$_lkvm_commands\" ;;\n"
	"\tvm) _lkvm_add -W \"$(lkvm list --json 2>/dev/null |\n"
	"\t\tgrep -o '\"name\": *\"[^\"]*' | sed 's/.*\"//')\" ;;\n"
	"\tesac\n"
	"\t[ -z \"$words\" ] || _lkvm_add -W \"$words\"\n"
	"}\n"
	"\n"
	"_lkvm() {\n"
	"\tlocal line=${COMP_LINE:0:COMP_POINT} args cur value command\n"
	"\tlocal kind list optional words options i\n"
	"\tread -ra args <<<\"$line\"\n"
	"\t[[ $line != *[[:space:]] ]] || args+=('')\n"
	"\tcur=${args[-1]} value=$cur command=run\n"
	"\tCOMPREPLY=()\n"
	"\tif [ ${#args[@]} = 2 ]; then\n"
	"\t\t_lkvm_add -W \"$_lkvm_commands\"\n"
	"\tfi\n"
	"\tcase \" $_lkvm_commands \" in\n"
	"\t*\" ${args[1]} \"*) command=${args[1]} ;;\n"
	"\tesac\n"
	"\tfor ((i = 1; i < ${#args[@]} - 1; i++)); do\n"
	"\t\tif [ \"${args[i]}\" = -- ]; then\n"
	"\t\t\tcompopt -o default\n"
	"\t\t\treturn\n"
	"\t\tfi\n"
	"\tdone\n"
	"\tcase $cur in\n"
	"\t--*=*)\n"
	"\t\tvalue=${cur#*=}\n"
	"\t\t_lkvm_look_up \"${cur%%=*}\"\n"
	"\t\t_lkvm_values\n"
	"\t\t;;\n"
	"\t*)\n"
	"\t\t_lkvm_look_up \"${args[-2]}\"\n"
	"\t\tcase ${args[-2]}:$kind:$optional in\n"
	"\t\t-*:?*:0) _lkvm_values ;;\n"
	"\t\t*)\n"
	"\t\t\t_lkvm_look_up ''\n"
	"\t\t\tcase $cur in\n"
	"\t\t\t-*) _lkvm_add -W \"$options\" ;;\n"
	"\t\t\t*) _lkvm_values ;;\n"
	"\t\t\tesac\n"
	"\t\t\t;;\n"
	"\t\tesac\n"
	"\t\t;;\n"
	"\tesac\n"
	"\t# readline takes what follows the last break for the word.\n"
	"\tcase $COMP_WORDBREAKS:$cur in\n"
	"\t*=*:*=*) COMPREPLY=(\"${COMPREPLY[@]#\"${cur%\"${cur##*=}\"}\"}\") ;;\n"
	"\tesac\n"
	"}\n"
	"\n"
	"complete -F _lkvm lkvm\n";

static void print_bash(void)
{
	bash_tables();
	fputs(bash_logic, stdout);
}

/* ---- zsh ----------------------------------------------------------------- */

/* The action of a value in a specification of _arguments. */
static void zsh_action(const struct option_desc *option, enum value value)
{
	static const char *const actions[] = {
		[VALUE_FILE] = "_files",
		[VALUE_FOLDER] = "_files -/",
		[VALUE_COMMAND] = "_lkvm_commands",
		[VALUE_VM] = "_lkvm_vms",
	};

	if (option && option->keys) {
		printf("{_lkvm_list \"%s\"",
		       value == VALUE_ANY ? "" : actions[value]);
		print_words(option);
		printf("}");
	} else if (option && option->choices) {
		printf("(");
		print_words(option);
		printf(")");
	} else if (actions[value]) {
		printf("%s", actions[value]);
	} else {
		printf(" ");
	}
}

static void zsh_option(const struct command *command,
		       const struct option_desc *option)
{
	enum value value = value_of(command, option);
	const char *equals = option->optional	 ? "=-" :
			     value != VALUE_NONE ? "=" :
						   "";

	printf(" \\\n\t\t\t");
	if (option->kind == OPTION_CALL)
		printf("'*'");
	else if (option->letter)
		printf("'(-%c --%s)'", option->letter, option->name);
	if (option->letter)
		printf("{-%c%s,--%s%s}", option->letter,
		       value == VALUE_NONE ? "" : "+", option->name, equals);
	else
		printf("--%s%s", option->name, equals);
	printf("'[");
	print_quoted(option->help, "[]:\\");
	printf("]");
	if (value != VALUE_NONE) {
		printf("%s", option->optional ? "::" : ":");
		print_quoted(option->metavar, "[]:\\");
		printf(":");
		zsh_action(option, value);
	}
	printf("'");
}

static void zsh_command(const struct command *command)
{
	enum value argument = value_named(command->arguments);

	printf("\t%s)\n\t\t_arguments -S :", command->name);
	for (const struct option_desc *o = command->options;
	     o && o->kind != OPTION_END; o++)
		zsh_option(command, o);
	if (argument != VALUE_NONE) {
		printf(" \\\n\t\t\t'*: :");
		zsh_action(NULL, argument);
		printf("'");
	}
	printf("\n\t\t;;\n");
}

static void print_zsh(void)
{
	printf("#compdef lkvm\n"
	       "# zsh completion of lkvm, made by: lkvm help --completion zsh\n"
	       "\n_lkvm_commands() {\n"
	       "\tlocal -a commands\n\tcommands=(\n");
	for (const struct command *c = commands; c->name; c++) {
		printf("\t\t'%s:", c->name);
		print_quoted(c->summary, ":\\");
		printf("'\n");
	}
	printf("\t)\n\t_describe command commands\n}\n\n"
	       "_lkvm_vms() {\n"
	       "\tcompadd -- $(lkvm list --json 2>/dev/null |\n"
	       "\t\tgrep -o '\"name\": *\"[^\"]*' | sed 's/.*\"//')\n}\n\n"
	       "# Items of a list; the first one may be what $1 completes.\n"
	       "_lkvm_list() {\n"
	       "\tlocal first=$1\n\tshift\n"
	       "\tif [[ $PREFIX != *,* && -n $first ]]; then\n"
	       "\t\t${=first} -S ''\n"
	       "\tfi\n"
	       "\tcompset -P '*,'\n"
	       "\tcompadd -S '' -- $@\n}\n\n"
	       "_lkvm() {\n"
	       "\tif ((CURRENT == 2)); then\n"
	       "\t\t_lkvm_commands\n\t\t_files\n\t\treturn\n\tfi\n"
	       "\tlocal command=$words[2]\n"
	       "\tcase ' ");
	print_commands();
	printf(" ' in\n"
	       "\t*\" $command \"*) shift words; ((CURRENT--)) ;;\n"
	       "\t*) command=run ;;\n\tesac\n"
	       "\tcase $command in\n");
	for (const struct command *c = commands; c->name; c++)
		zsh_command(c);
	printf("\tesac\n}\n\n_lkvm \"$@\"\n");
}

/* ---- fish ---------------------------------------------------------------- */

static void fish_option(const struct command *command,
			const struct option_desc *option)
{
	enum value value = value_of(command, option);

	printf("complete -c lkvm -n '__lkvm_command %s' -l %s", command->name,
	       option->name);
	if (option->letter)
		printf(" -s %c", option->letter);
	/* Of an optional value fish knows only that it may be there. */
	if (value != VALUE_NONE && !option->optional)
		printf(value == VALUE_FILE || value == VALUE_FOLDER ? " -r" :
								      " -x");
	if (value == VALUE_VM)
		printf(" -a '(__lkvm_vms)'");
	else if (option->keys || option->choices) {
		printf(option->keys ? " -a '(__lkvm_list" : " -a '");
		print_words(option);
		printf(option->keys ? ")'" : "'");
	}
	printf(" -d '");
	print_quoted(option->help, "\\");
	printf("'\n");
}

/* Files are what fish offers by itself. */
static void fish_argument(const struct command *command)
{
	enum value value = value_named(command->arguments);

	if (value == VALUE_FILE)
		return;
	printf("complete -c lkvm -f -n '__lkvm_command %s' -a '",
	       command->name);
	if (value == VALUE_COMMAND)
		print_commands();
	else if (value == VALUE_VM)
		printf("(__lkvm_vms)");
	printf("'\n");
}

static void print_fish(void)
{
	printf("# fish completion of lkvm, made by: lkvm help --completion "
	       "fish\n\n"
	       "function __lkvm_command\n"
	       "\tset -l words (commandline -opc)\n"
	       "\tif contains -- \"$words[2]\" ");
	print_commands();
	printf("\n\t\ttest \"$words[2]\" = $argv[1]\n"
	       "\telse\n"
	       "\t\ttest (count $words) -gt 1 -a $argv[1] = run\n"
	       "\tend\nend\n\n"
	       "function __lkvm_vms\n"
	       "\tlkvm list --json 2>/dev/null |\n"
	       "\t\tstring match -arg '\"name\": *\"([^\"]*)'\nend\n\n"
	       "# The words that may follow the last comma.\n"
	       "function __lkvm_list\n"
	       "\tset -l token (commandline -ct | string replace -r "
	       "'^--[^=]*=' '')\n"
	       "\tset -l head (string match -r '^.*,' -- $token)\n"
	       "\tfor word in $argv\n"
	       "\t\techo \"$head$word\"\n"
	       "\tend\nend\n\n");
	for (const struct command *c = commands; c->name; c++) {
		printf("complete -c lkvm -n __fish_use_subcommand -a %s -d '",
		       c->name);
		print_quoted(c->summary, "\\");
		printf("'\n");
		fish_argument(c);
		for (const struct option_desc *o = c->options;
		     o && o->kind != OPTION_END; o++)
			fish_option(c, o);
	}
}

void print_completion(enum completion_shell shell)
{
	static void (*const print[])(void) = {
		[COMPLETION_BASH] = print_bash,
		[COMPLETION_ZSH] = print_zsh,
		[COMPLETION_FISH] = print_fish,
	};

	print[shell]();
}
