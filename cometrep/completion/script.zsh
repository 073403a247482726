#compdef cometrep
# @HEAD@

@PAGES@
# Offer the parts of a command.
_cometrep_parts() {
    _describe -t commands command parts
}

# Complete a value that the program knows: _cometrep_ask KIND
_cometrep_ask() {
    setopt local_options extended_glob
    local kind=$1 tag=${1/changeable/settings} option answer value about start= width=0 separator
    local -a asked values abouts shown expl flags
    case $kind in
        (inputs)
            if [[ $PREFIX == [^=:@]##(:=@|=@|@)* ]]; then
                compset -P '[^=:@]##(:=@|=@|@)'
                _files
                return
            elif compset -P '[^=:@]##(:|)='; then
                (( $+opt_args[--sweep] )) && compset -P '*,'
                start=$IPREFIX tag=values
            else
                flags=(-S '')
            fi
            ;;
        (values)
            if [[ $line[1] == dir ]]; then
                _files -/
                return
            fi
            ;;
        (ids|faults) start=${(Q)PREFIX} ;; # there are more than are shown at first
        (models) [[ $PREFIX == */* ]] || start=${(Q)PREFIX} ;;
    esac
    for option in "${(@k)opt_args}"; do
        asked+=("$option${opt_args[$option]:+=${opt_args[$option]//(#m)\\[\\:]/$MATCH[2]}}")
    done
    # What stands on the line already is told, but for the word at the cursor.
    for answer in "${(@f)$("$program" __complete $kind "$asked[@]" -- "${(@Q)line[1,-2]}" "$start" 2>/dev/null)}"; do
        value=${answer%%$'\t'*}
        [[ $tag == values ]] && value=${value#$start}
        [[ -n $value ]] || continue
        values+=("$value") abouts+=("${answer#*$'\t'}")
        (( $#value > width )) && width=$#value
    done
    (( $#values )) || return 1
    if [[ $kind == models && -n $start && ${(L)values[1]} != ${(L)start}* ]]; then
        flags=(-U) # found by the last part of its name
    fi
    # Not by _describe, which puts values of one description on one line and out of order.
    if [[ -n ${(j::)abouts} ]]; then
        zstyle -s ":completion:${curcontext}:" list-separator separator || separator=--
        for (( option = 1; option <= $#values; option++ )); do
            about=${abouts[option]:+ $separator $abouts[option]}
            shown+=("${${(r:width:)values[option]}}${(mr:COLUMNS - width - 1:)about}")
        done
        flags+=(-l -d shown)
    fi
    _wanted -V $tag expl ${tag%s} compadd "$flags[@]" -a values
}

# Complete the file that an argument names; with --sweep there is none, and the inputs begin at once.
_cometrep_source() {
    if (( $+opt_args[--sweep] )); then
        _cometrep_ask inputs
    else
        _files
    fi
}

if [[ $funcstack[1] == _cometrep ]]; then
    _cometrep "$@"
else
    (( $+functions[compdef] )) || { autoload -Uz compinit && compinit -i }
    compdef _cometrep cometrep
fi
