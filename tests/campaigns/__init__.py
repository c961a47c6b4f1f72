"Campaigns: sessions in real processes on real sockets, many times, under a judge. `python -m tests.campaigns --help`"
