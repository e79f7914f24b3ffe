# Without the package bash-completion: sets words, cword, cur and prev of the
# caller from the line up to the cursor. Bash has split it at = and : too; what no
# blank precedes belongs to the word before.
__plane_words() {
    local line=${COMP_LINE:0:COMP_POINT} i part before="" glued
    words=() cword=0
    for ((i = 0; i <= COMP_CWORD; i++)); do
        glued=1
        while [[ $line == [[:blank:]]* ]]; do
            line=${line#?} glued=0
        done
        part=${COMP_WORDS[i]}
        ((i == COMP_CWORD)) && part=$line
        if ((i > 0 && glued)) && [[ $part == [=:]* || $before == *[=:] ]]; then
            words[cword]+=$part
        else
            ((i > 0)) && cword=$((cword + 1))
            words[cword]=$part
        fi
        before=$part
        line=${line#"$part"}
    done
    cur=${words[cword]}
    prev=""
    ((cword > 0)) && prev=${words[cword - 1]}
    return 0
}

if ! declare -F __ltrim_colon_completions >/dev/null; then
    # Readline replaces only what follows the last colon.
    __ltrim_colon_completions() {
        [[ $1 == *:* && $COMP_WORDBREAKS == *:* ]] || return 0
        local head=${1%"${1##*:}"} i
        for i in "${!COMPREPLY[@]}"; do
            COMPREPLY[i]=${COMPREPLY[i]#"$head"}
        done
    }
fi
