from idrl_client.cli import main

main()
