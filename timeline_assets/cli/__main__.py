from timeline_assets.cli.app import main

main()
