# SPDX-License-Identifier: MIT
# bash completion for oldmemfs(8).

_oldmemfs() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
    local options="allow_other allow_root arch= bind= cache=none cache=pages dump_level= elfcorehdr= layout=packed
        machine=pc machine=q35 machine=microvm machine=virt machine=riscv-virt note_align=0
        note_align=4 notes=skip page_size= ram= reads=c reads=python source=devmem source=elf source=raw strict"
    # bash takes '=' for the end of a word; the words before it are looked at as they were typed.
    local line=${COMP_LINE:0:COMP_POINT}
    local typed=${line##* }
    if [[ $line == *" -o $typed" ]]; then
        local last=${typed##*,} kept=
        [[ $typed == *,* ]] && kept=${typed%,*},
        mapfile -t COMPREPLY < <(compgen -P "$kept" -W "$options" -- "$last")
        if [[ $typed == *=* ]]; then
            local cut=${typed%"${typed##*=}"}
            COMPREPLY=("${COMPREPLY[@]#"$cut"}")
        fi
        [[ ${COMPREPLY[0]-} == *= ]] && compopt -o nospace
    elif [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "--check --help --info --json --list --payload --scan --setup-debian --version -d -f -o" -- "$word")
    elif [[ $before != -o ]]; then
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
        compopt -o filenames
    fi
}
complete -F _oldmemfs oldmemfs
