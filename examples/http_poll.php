<?php
// Prices once a second, in PHP without any package. See docs/gateway.md.
//
//   php examples/http_poll.php http://127.0.0.1:8787 NSE:INFY "NSE:NIFTY 50"

[$url, $instruments] = [$argv[1], array_slice($argv, 2)];
$query = implode('&', array_map(fn ($name) => 'i=' . rawurlencode($name), $instruments));
$patience = stream_context_create(['http' => ['timeout' => 3, 'ignore_errors' => true]]);

while (true) {
    $answer = @file_get_contents("$url/api/quotes?$query", false, $patience);
    $told = $answer === false ? null : json_decode($answer, true);
    if (!isset($told['quotes'])) {
        echo $answer === false ? "LOST: no price is current\n" : trim($answer) . "\n";
    } else {
        foreach ($told['quotes'] as $quote) {
            $word = $quote['fresh'] ? $quote['source'] : "$quote[source], do not trade";
            $price = number_format($quote['last_price'], $quote['decimals'], '.', '');
            printf("%s  %s  %.1f s  %s\n", $quote['instrument'], $price, $quote['age_s'], $word);
        }
        foreach ($told['missing'] as $name => $why) {
            echo "$name  missing: $why\n";
        }
    }
    sleep(1);
}
