# Create a prediction, wait for it and save its file, with one curl and one jq a request:
# curl_run.sh BASE_URL MODEL FOLDER NAME INPUT
set -eu
ask() { curl -sS --fail-with-body -H "Authorization: Bearer $COMETAPI_KEY" "$@"; }

id=$(ask -H 'Content-Type: application/json' -d "{\"input\": $5}" "$1/replicate/v1/models/$2/predictions" | jq -r .id)
status=starting
while [ "$status" = starting ] || [ "$status" = processing ]; do
    sleep 0.5
    found=$(ask "$1/replicate/v1/predictions/$id" | jq -r '"\(.status) \(.output[0]? // "")"')
    status=${found%% *}
done
[ "$status" = succeeded ]
curl -sS --fail -o "$3/$4.webp" "${found#* }"
