# fish completion for cometrep, written by `cometrep completion fish` from the command tree

# What a command takes, a line each: what it is, its names, the kind of its value, its description. (a b) are the
# choices themselves, and a + marks what may come again.
function __cometrep_page
    switch "$argv[1]"
        case ''
            printf '%s\t%s\t%s\t%s\n' \
                'part' 'run' '' 'Create a prediction, wait for it and save its output files' \
                'part' 'create' '' 'Create one prediction and print its id' \
                'part' 'wait' '' 'Wait until predictions have ended' \
                'part' 'status' '' 'Look at predictions once' \
                'part' 'download' '' 'Save the output files of finished predictions' \
                'part' 'batch' '' 'Run many inputs; resume where a run stopped' \
                'part' 'rerun' '' 'Create a prediction again, with inputs changed' \
                'part' 'list' '' 'List the predictions made from this machine' \
                'part' 'models' '' 'Show the known models, or one model\'s inputs' \
                'part' 'login' '' 'Store the API key' \
                'part' 'logout' '' 'Remove the stored API key' \
                'part' 'config' '' 'Show and change the settings' \
                'part' 'doctor' '' 'Check key, settings, network, files and terminal' \
                'part' 'sandbox' '' 'Serve the local stand-in API in the foreground' \
                'part' 'help' '' 'Show a command or another topic in full' \
                'part' 'completion' '' 'Print the completion script of a shell' \
                'option' '--version' '' 'Print the version' \
                'option' '-h --help' '' 'Show this message and exit'
        case 'run'
            printf '%s\t%s\t%s\t%s\n' \
                'argument' '' 'models' '' \
                'argument' '' 'inputs+' '' \
                'option' '-i --input' 'files' 'JSON object of inputs, - for stdin' \
                'option' '--dry-run' '' 'Print the request as JSON; send nothing' \
                'option' '--strict' '' 'Refuse inputs and values that the catalog does not know' \
                'option' '--timeout' 'text' 'Deadline of the wait: 90s, 10m, 1h (default 30m); 0 for none' \
                'option' '--interval' 'text' 'Fixed pause between looks, 0.2 to 3600; else it adapts' \
                'option' '--logs' '' 'Show the model\'s log lines' \
                'option' '-o --output' 'files' 'Saved name (see cometrep help templates); - for stdout' \
                'option' '-d --dir' 'folders' 'Folder to save in (default the current one)' \
                'option' '--overwrite' '' 'Replace files that exist' \
                'option' '--skip-existing' '' 'Leave files that exist alone' \
                'option' '--max-size' 'text' 'Refuse larger files: 500k, 200M (default 2GiB)' \
                'option' '--sidecar' '' 'Write ID.cometrep.json beside the files' \
                'option' '--print' '(id status path url output)' 'Print id, status, path, url or output' \
                'option' '--github' '' 'Set a GitHub Actions step\'s outputs, summary and errors' \
                'option' '--json' '' 'Print JSON, errors too' \
                'option' '-q --quiet' '' 'No progress, no hints; warnings and errors stay' \
                'option' '-v --verbose' '' 'Show requests and answers' \
                'option' '--progress' '(auto bar lines json none)' 'auto, bar, lines, json or none (default auto)' \
                'option' '--sandbox' '' 'Use the local stand-in API; costs nothing' \
                'option' '--base-url' 'text' 'Where the API is (default https://api.cometapi.com)' \
                'option' '-h --help' '' 'Show this message and exit'
        case 'create'
            printf '%s\t%s\t%s\t%s\n' \
                'argument' '' 'models' '' \
                'argument' '' 'inputs+' '' \
                'option' '-i --input' 'files' 'JSON object of inputs, - for stdin' \
                'option' '--dry-run' '' 'Print the request as JSON; send nothing' \
                'option' '--strict' '' 'Refuse inputs and values that the catalog does not know' \
                'option' '--print' '(id status path url output)' 'Print id, status, path, url or output' \
                'option' '--json' '' 'Print JSON, errors too' \
                'option' '-q --quiet' '' 'No progress, no hints; warnings and errors stay' \
                'option' '-v --verbose' '' 'Show requests and answers' \
                'option' '--progress' '(auto bar lines json none)' 'auto, bar, lines, json or none (default auto)' \
                'option' '--sandbox' '' 'Use the local stand-in API; costs nothing' \
                'option' '--base-url' 'text' 'Where the API is (default https://api.cometapi.com)' \
                'option' '-h --help' '' 'Show this message and exit'
        case 'wait'
            printf '%s\t%s\t%s\t%s\n' \
                'argument' '' 'ids+' '' \
                'option' '--timeout' 'text' 'Deadline of the wait: 90s, 10m, 1h (default 30m); 0 for none' \
                'option' '--interval' 'text' 'Fixed pause between looks, 0.2 to 3600; else it adapts' \
                'option' '--logs' '' 'Show the model\'s log lines' \
                'option' '--print' '(id status path url output)' 'Print id, status, path, url or output' \
                'option' '--github' '' 'Set a GitHub Actions step\'s outputs, summary and errors' \
                'option' '--json' '' 'Print JSON, errors too' \
                'option' '-q --quiet' '' 'No progress, no hints; warnings and errors stay' \
                'option' '-v --verbose' '' 'Show requests and answers' \
                'option' '--progress' '(auto bar lines json none)' 'auto, bar, lines, json or none (default auto)' \
                'option' '--sandbox' '' 'Use the local stand-in API; costs nothing' \
                'option' '--base-url' 'text' 'Where the API is (default https://api.cometapi.com)' \
                'option' '-h --help' '' 'Show this message and exit'
        case 'status'
            printf '%s\t%s\t%s\t%s\n' \
                'argument' '' 'ids+' '' \
                'option' '--print' '(id status path url output)' 'Print id, status, path, url or output' \
                'option' '--json' '' 'Print JSON, errors too' \
                'option' '-q --quiet' '' 'No progress, no hints; warnings and errors stay' \
                'option' '-v --verbose' '' 'Show requests and answers' \
                'option' '--progress' '(auto bar lines json none)' 'auto, bar, lines, json or none (default auto)' \
                'option' '--sandbox' '' 'Use the local stand-in API; costs nothing' \
                'option' '--base-url' 'text' 'Where the API is (default https://api.cometapi.com)' \
                'option' '--exit-status' '' 'Exit as wait would; 6 while it runs' \
                'option' '-h --help' '' 'Show this message and exit'
        case 'download'
            printf '%s\t%s\t%s\t%s\n' \
                'argument' '' 'ids+' '' \
                'option' '--wait' '' 'Wait for unfinished ones first' \
                'option' '--timeout' 'text' 'Deadline of the wait: 90s, 10m, 1h (default 30m); 0 for none' \
                'option' '-o --output' 'files' 'Saved name (see cometrep help templates); - for stdout' \
                'option' '-d --dir' 'folders' 'Folder to save in (default the current one)' \
                'option' '--overwrite' '' 'Replace files that exist' \
                'option' '--skip-existing' '' 'Leave files that exist alone' \
                'option' '--max-size' 'text' 'Refuse larger files: 500k, 200M (default 2GiB)' \
                'option' '--sidecar' '' 'Write ID.cometrep.json beside the files' \
                'option' '--print' '(id status path url output)' 'Print id, status, path, url or output' \
                'option' '--github' '' 'Set a GitHub Actions step\'s outputs, summary and errors' \
                'option' '--json' '' 'Print JSON, errors too' \
                'option' '-q --quiet' '' 'No progress, no hints; warnings and errors stay' \
                'option' '-v --verbose' '' 'Show requests and answers' \
                'option' '--progress' '(auto bar lines json none)' 'auto, bar, lines, json or none (default auto)' \
                'option' '--sandbox' '' 'Use the local stand-in API; costs nothing' \
                'option' '--base-url' 'text' 'Where the API is (default https://api.cometapi.com)' \
                'option' '-h --help' '' 'Show this message and exit'
        case 'batch'
            printf '%s\t%s\t%s\t%s\n' \
                'argument' '' 'files' '' \
                'argument' '' 'inputs+' '' \
                'option' '-m --model' 'models' 'The model of lines that name none' \
                'option' '--sweep' '' 'No file: every combination of the inputs\' values' \
                'option' '--yes' '' 'Do not ask before a sweep of more than 100' \
                'option' '--shard' 'text' 'Only part I of N' \
                'option' '--dry-run' '' 'Show counts, requests and names; send nothing' \
                'option' '--strict' '' 'Refuse inputs and values that the catalog does not know' \
                'option' '-j --jobs' 'text' 'Items at once (default 4)' \
                'option' '--rate' 'text' 'At most so many creates: 2/s, 60/m, 100/h' \
                'option' '--max-failures' 'text' 'Stop sending after N failures' \
                'option' '--retry-failed' '' 'Send failed items again' \
                'option' '--retry-unknown' '' 'Send items in doubt again; may pay twice' \
                'option' '--status' '' 'Show what the folder holds; send nothing' \
                'option' '--timeout' 'text' 'Deadline of each prediction\'s wait: 90s, 1h (default 30m); 0 none' \
                'option' '-o --output' 'files' 'Saved name (see cometrep help templates)' \
                'option' '-d --dir' 'folders' 'Folder of the batch (default FILE without its extension)' \
                'option' '--overwrite' '' 'Replace files that exist' \
                'option' '--skip-existing' '' 'Leave files that exist alone' \
                'option' '--max-size' 'text' 'Refuse larger files: 500k, 200M (default 2GiB)' \
                'option' '--github' '' 'Set a GitHub Actions step\'s outputs, summary and errors' \
                'option' '--json' '' 'Print JSON, errors too' \
                'option' '-q --quiet' '' 'No progress, no hints; warnings and errors stay' \
                'option' '-v --verbose' '' 'Show requests and answers' \
                'option' '--progress' '(auto bar lines json none)' 'auto, bar, lines, json or none (default auto)' \
                'option' '--sandbox' '' 'Use the local stand-in API; costs nothing' \
                'option' '--base-url' 'text' 'Where the API is (default https://api.cometapi.com)' \
                'option' '-h --help' '' 'Show this message and exit'
        case 'rerun'
            printf '%s\t%s\t%s\t%s\n' \
                'argument' '' 'ids' '' \
                'argument' '' 'inputs+' '' \
                'option' '-i --input' 'files' 'JSON object of inputs, - for stdin' \
                'option' '--dry-run' '' 'Print the request as JSON; send nothing' \
                'option' '--strict' '' 'Refuse inputs and values that the catalog does not know' \
                'option' '--timeout' 'text' 'Deadline of the wait: 90s, 10m, 1h (default 30m); 0 for none' \
                'option' '--interval' 'text' 'Fixed pause between looks, 0.2 to 3600; else it adapts' \
                'option' '--logs' '' 'Show the model\'s log lines' \
                'option' '-o --output' 'files' 'Saved name (see cometrep help templates); - for stdout' \
                'option' '-d --dir' 'folders' 'Folder to save in (default the current one)' \
                'option' '--overwrite' '' 'Replace files that exist' \
                'option' '--skip-existing' '' 'Leave files that exist alone' \
                'option' '--max-size' 'text' 'Refuse larger files: 500k, 200M (default 2GiB)' \
                'option' '--sidecar' '' 'Write ID.cometrep.json beside the files' \
                'option' '--print' '(id status path url output)' 'Print id, status, path, url or output' \
                'option' '--github' '' 'Set a GitHub Actions step\'s outputs, summary and errors' \
                'option' '--json' '' 'Print JSON, errors too' \
                'option' '-q --quiet' '' 'No progress, no hints; warnings and errors stay' \
                'option' '-v --verbose' '' 'Show requests and answers' \
                'option' '--progress' '(auto bar lines json none)' 'auto, bar, lines, json or none (default auto)' \
                'option' '--sandbox' '' 'Use the local stand-in API; costs nothing' \
                'option' '--base-url' 'text' 'Where the API is (default https://api.cometapi.com)' \
                'option' '-h --help' '' 'Show this message and exit'
        case 'list'
            printf '%s\t%s\t%s\t%s\n' \
                'option' '--model' 'models' 'Only models that match: \'*/flux-*\'' \
                'option' '--status' '(starting processing succeeded failed canceled aborted unknown refused)' 'Only starting, processing, succeeded, failed, canceled, aborted, unknown or refused' \
                'option' '--since' 'text' 'Only younger than this: 2h, 7d' \
                'option' '-n --limit' 'text' 'At most so many (default all)' \
                'option' '--unsaved' '' 'Only successes seen, not saved here; with the time left' \
                'option' '--unknown' '' 'Only creates whose outcome is unknown' \
                'option' '--refresh' '' 'Ask the API about unfinished ones first' \
                'option' '--prune' 'text' 'Forget older ones instead of listing: 90d' \
                'option' '--json' '' 'Print JSON, errors too' \
                'option' '-q --quiet' '' 'No progress, no hints; warnings and errors stay' \
                'option' '-v --verbose' '' 'Show requests and answers' \
                'option' '--progress' '(auto bar lines json none)' 'auto, bar, lines, json or none (default auto)' \
                'option' '--sandbox' '' 'Use the local stand-in API; costs nothing' \
                'option' '--base-url' 'text' 'Where the API is (default https://api.cometapi.com)' \
                'option' '-h --help' '' 'Show this message and exit'
        case 'models'
            printf '%s\t%s\t%s\t%s\n' \
                'argument' '' 'models' '' \
                'option' '--json' '' 'Print one JSON object a line' \
                'option' '-h --help' '' 'Show this message and exit'
        case 'login'
            printf '%s\t%s\t%s\t%s\n' \
                'option' '--stdin' '' 'Read the key from stdin instead of asking' \
                'option' '-h --help' '' 'Show this message and exit'
        case 'logout'
            printf '%s\t%s\t%s\t%s\n' \
                'option' '-h --help' '' 'Show this message and exit'
        case 'config'
            printf '%s\t%s\t%s\t%s\n' \
                'part' 'show' '' 'Show every setting, its value and where it comes from' \
                'part' 'get' '' 'Print one setting; of the API key its last four characters' \
                'part' 'set' '' 'Set one setting in the config file' \
                'part' 'unset' '' 'Remove one setting from the config file' \
                'part' 'path' '' 'Print where the config file is' \
                'option' '-h --help' '' 'Show this message and exit'
        case 'config show'
            printf '%s\t%s\t%s\t%s\n' \
                'option' '--json' '' 'Print one JSON object' \
                'option' '-h --help' '' 'Show this message and exit'
        case 'config get'
            printf '%s\t%s\t%s\t%s\n' \
                'argument' '' 'settings' '' \
                'option' '-h --help' '' 'Show this message and exit'
        case 'config set'
            printf '%s\t%s\t%s\t%s\n' \
                'argument' '' 'changeable' '' \
                'argument' '' 'values' '' \
                'option' '-h --help' '' 'Show this message and exit'
        case 'config unset'
            printf '%s\t%s\t%s\t%s\n' \
                'argument' '' 'settings' '' \
                'option' '-h --help' '' 'Show this message and exit'
        case 'config path'
            printf '%s\t%s\t%s\t%s\n' \
                'option' '-h --help' '' 'Show this message and exit'
        case 'doctor'
            printf '%s\t%s\t%s\t%s\n' \
                'option' '--json' '' 'Print JSON, errors too' \
                'option' '-q --quiet' '' 'No progress, no hints; warnings and errors stay' \
                'option' '-v --verbose' '' 'Show requests and answers' \
                'option' '--progress' '(auto bar lines json none)' 'auto, bar, lines, json or none (default auto)' \
                'option' '--sandbox' '' 'Use the local stand-in API; costs nothing' \
                'option' '--base-url' 'text' 'Where the API is (default https://api.cometapi.com)' \
                'option' '-h --help' '' 'Show this message and exit'
        case 'sandbox'
            printf '%s\t%s\t%s\t%s\n' \
                'option' '--port' 'text' 'Port on 127.0.0.1 (default 8787); 0 for a free one' \
                'option' '--seconds' 'text' 'Length of a prediction (default 2)' \
                'option' '--wrapped' '' 'Answer looks in the gateway\'s task record' \
                'option' '--fault' 'faults+' 'Misbehave, N times or always: 429, 500, 524, hang, html, reset, truncate, slow, expire; get:500 meets looks alone' \
                'option' '-h --help' '' 'Show this message and exit'
        case 'help'
            printf '%s\t%s\t%s\t%s\n' \
                'part' 'cometrep' '' 'All of it, in short' \
                'part' 'run' '' 'Create a prediction, wait for it and save its output files' \
                'part' 'create' '' 'Create one prediction and print its id' \
                'part' 'wait' '' 'Wait until predictions have ended' \
                'part' 'status' '' 'Look at predictions once' \
                'part' 'download' '' 'Save the output files of finished predictions' \
                'part' 'batch' '' 'Run many inputs; resume where a run stopped' \
                'part' 'rerun' '' 'Create a prediction again, with inputs changed' \
                'part' 'list' '' 'List the predictions made from this machine' \
                'part' 'models' '' 'Show the known models, or one model\'s inputs' \
                'part' 'login' '' 'Store the API key' \
                'part' 'logout' '' 'Remove the stored API key' \
                'part' 'config' '' 'Show and change the settings' \
                'part' 'doctor' '' 'Check key, settings, network, files and terminal' \
                'part' 'sandbox' '' 'Serve the local stand-in API in the foreground' \
                'part' 'help' '' 'Show a command or another topic in full' \
                'part' 'completion' '' 'Print the completion script of a shell' \
                'part' 'exit-codes' '' 'Exit codes and error codes, and what to do for each' \
                'part' 'environment' '' 'Environment variables, settings and files' \
                'part' 'json' '' 'What --json and --progress json print, key by key' \
                'part' 'ids' '' 'How predictions are named' \
                'part' 'inputs' '' 'How INPUT items are written' \
                'part' 'templates' '' 'How output files are named and saved' \
                'option' '-h --help' '' 'Show this message and exit'
        case 'help config'
            printf '%s\t%s\t%s\t%s\n' \
                'part' 'show' '' 'Show every setting, its value and where it comes from' \
                'part' 'get' '' 'Print one setting; of the API key its last four characters' \
                'part' 'set' '' 'Set one setting in the config file' \
                'part' 'unset' '' 'Remove one setting from the config file' \
                'part' 'path' '' 'Print where the config file is'
        case 'completion'
            printf '%s\t%s\t%s\t%s\n' \
                'argument' '' '(bash zsh fish)' '' \
                'option' '-h --help' '' 'Show this message and exit'
    end
end

# Give the kind of an option's value: __cometrep_kind NAME PAGE
function __cometrep_kind
    set -l name (string escape --style=regex -- $argv[1])
    string replace -rf "^option\t(?:[^\t]* )?$name(?: [^\t]*)?\t([^\t]*)\t.*" '$1' -- $argv[2..]
end

# List the paths that a word of the line may become, as fish does behind a command that it does not know.
function __cometrep_paths
    complete -C "__cometrep_unknown $argv[1]" | string replace -r '\t.*' ''
end

# Put the part of a word that stays before each value and its description.
function __cometrep_behind
    set -l start $argv[1]
    while read -l answer
        echo -- $start$answer
    end
end

function __cometrep_complete
    set -l words (commandline -opc)
    set -l raw (commandline -ct)
    set -l current (string replace -ra '["\'\\\\]' '' -- $raw)
    while string match -qr '^\w+=' -- $words[1]
        set -e words[1]
    end
    set -l program (string replace -r '^~/' "$HOME/" -- $words[1])
    set -l path ''
    set -l page (__cometrep_page '')
    set -l told
    set -l given
    set -l wanted ''
    set -l takes_options 1

    # Read the words before the cursor as the program will: the command, its options and its arguments.
    for word in $words[2..]
        if test -n "$wanted"
            set told[-1] "$wanted=$word"
            set wanted ''
        else if test -z "$takes_options"; or not string match -qr '^-.' -- $word
            if string match -qr '^part\t' -- $page
                set path (string trim -- "$path $word")
                set page (__cometrep_page $path)
            else
                set -a given $word
            end
        else if test "$word" = --
            set takes_options ''
        else if string match -q -- '--*' $word
            set -a told $word
            if not string match -q '*=*' -- $word; and test -n (__cometrep_kind $word $page)""
                set wanted $word
            end
        else
            set -l letters (string split '' -- (string sub -s 2 -- $word))
            for place in (seq (count $letters))
                set -l name -$letters[$place]
                set -a told $name
                if test -n (__cometrep_kind $name $page)""
                    if test $place -lt (count $letters)
                        set told[-1] $name=(string join '' $letters[(math $place + 1)..-1])
                    else
                        set wanted $name
                    end
                    break
                end
            end
        end
    end

    set -l kind ''
    set -l start ''
    if test -n "$wanted"
        set kind (__cometrep_kind $wanted $page)
    else if test -n "$takes_options"; and string match -qr '^--[^=]+=' -- $current
        set start (string replace -r '=.*' = -- $current)
        set kind (__cometrep_kind (string replace -r '=.*' '' -- $current) $page)
    else if test -n "$takes_options"; and string match -qr '^-[^-].' -- $current
        set -l letters (string split '' -- (string sub -s 2 -- $current))
        for place in (seq (math (count $letters) - 1))
            set kind (__cometrep_kind -$letters[$place] $page)
            if test -n "$kind"
                set start (string sub -l (math $place + 1) -- $current)
                break
            end
        end
        test -z "$kind"; and return
    else if not string match -qr '^-' -- $current; or test -z "$takes_options"
        string replace -rf '^part\t([^\t]*)\t[^\t]*\t(.*)' '$1\t$2' -- $page
        string match -qr '^part\t' -- $page; and return
        set -l kinds (string replace -rf '^argument\t[^\t]*\t([^\t]*)\t.*' '$1' -- $page)
        set -l place (math (count $given) + 1)
        if test $place -le (count $kinds)
            set kind $kinds[$place]
        else if string match -q '*+' -- $kinds[-1]
            set kind $kinds[-1]
        end
    end
    set kind (string replace -r '\+$' '' -- $kind)

    if test -z "$kind"
        __cometrep_options $page
        return
    end
    if test $kind = files -a -z "$wanted$start"; and contains -- --sweep $told
        set kind inputs
    end
    set -l typed (string sub -s (math (string length -- "$start") + 1) -- $current)
    set -l item (string match -r '^[^=:@]+(?::=@|=@|@)' -- $typed)
    if test $kind = inputs -a -n "$item"
        set start $item
        set kind files
        set typed (string sub -s (math (string length -- $item) + 1) -- $typed)
    else if test $kind = values -a "$given[1]" = dir
        set kind folders
    end
    switch $kind
        case files folders
            # As it was typed, with an open quote before it.
            set typed (string replace -r '^(["\']?)'(string escape --style=regex -- "$start") '$1' -- $raw)
            set -l ends (test $kind = folders; and echo '/$'; or echo '')
            __cometrep_paths "$typed" | string match -r ".*$ends" | __cometrep_behind $start
        case '(*'
            string split ' ' -- (string trim -c '()' -- $kind) | __cometrep_behind $start
        case text
        case '*'
            # The program chooses what fits: fish looks for a word in the descriptions too.
            $program __complete $kind $told -- $given "$typed" 2>/dev/null | __cometrep_behind $start
    end
end

# List the options not given yet, by the caller's list of those that are.
function __cometrep_options --no-scope-shadowing
    for line in (string match -r '^option\t.*' -- $page)
        set -l fields (string split \t -- $line)
        set -l is_given ''
        for name in (string split ' ' -- $fields[2])
            if contains -- $name (string replace -r '=.*' '' -- $told); and not string match -q '*+' -- $fields[3]
                set is_given 1
            end
        end
        test -n "$is_given"; and continue
        for name in (string split ' ' -- $fields[2])
            printf '%s\t%s\n' $name $fields[4]
        end
    end
end

complete -c cometrep -e
complete -c cometrep -f -k -a '(__cometrep_complete)'
